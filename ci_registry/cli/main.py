"""The command group: commands are loaded one at a time by name, and end as output and an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from ..errors import CiRegistryError, Interrupted, StorageError, UsageError
from .output import Answer, Output
from .settings import Globals, global_options

__all__ = ["CommandGroup", "cli", "run"]

# name: (module, attribute, one line for the overview). A module is imported when its command is run or explained.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "init": ("configuration", "init", "Write a commented ci-registry.yaml."),
    "push": ("copying", "push", "Copy an image to one or more targets."),
    "pull": ("copying", "pull", "Copy an image from a target to an archive, a layout or the docker daemon."),
    "copy": ("copying", "copy", "Copy from any place to any place, whole index, digests kept."),
    "promote": ("promotion", "promote", "Promote images from one target to others: plan and apply in one go."),
    "plan": ("promotion", "plan", "Write down what a promotion would do, to be approved."),
    "apply": ("promotion", "apply", "Carry out exactly one plan, going on where it was interrupted."),
    "history": ("history", "history", "Show who promoted what, from the records at the registry."),
    "rollback": ("history", "rollback", "Put a tag back to what it held before its last promotion."),
    "diff": ("history", "diff", "Show what is missing, different or extra at other targets."),
    "delete": ("removal", "delete", "Delete a tag alone."),
    "prune": ("removal", "prune", "Remove old tags, and images that nothing names any more."),
    "receipt": ("promotion", "receipt", "Put receipts of shards and phases together."),
    "tag": ("copying", "tag", "Add tags to an image without moving a byte."),
    "index": ("indexing", "index", "Make multi-platform indexes."),
    "inspect": ("looking", "inspect", "Show an image's manifest, platforms and labels."),
    "list": ("looking", "list_command", "List repositories or tags."),
    "verify": ("looking", "verify", "Check that all parts of an image are really there."),
    "login": ("logins", "login", "Log in to a registry, and keep the credential in the keyring."),
    "logout": ("logins", "logout", "Forget a kept credential."),
    "credentials": ("logins", "credentials", "Explain, set or remove credentials."),
    "docker-config": ("docker_config", "docker_config", "Log docker, skopeo and buildah in through our credentials."),
    "jenkins": ("jenkins", "jenkins", "Work with a Jenkins server: check it, define jobs, start builds."),
    "doctor": ("doctor", "doctor", "Check each layer of each target and of this machine, and say the cure."),
    "provision": ("provision", "provision", "Write and start a private registry, proxy, cache or Nexus."),
    "targets": ("configuration", "targets", "List the configured targets."),
    "config": ("configuration", "config", "Check, show or describe the configuration."),
}


class CommandGroup(click.Group):
    """A group that knows its commands by name and loads them on demand."""

    def __init__(self, *args: Any, commands_by_name: dict[str, tuple[str, str, str]], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = self._by_name.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(f"{__package__}.{entry[0]}"), entry[1])
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self._by_name and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self._by_name, 1)
            hint = f"did you mean '{near[0]}'?" if near else "see `ci-registry --help`"
            raise UsageError(f"there is no command '{args[0]}'", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in self._by_name.items()])


@click.command(
    cls=CommandGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 done, 2 usage or configuration, 3 access, 4 not found, 5 conflict, 6 refused or damaged, "
    "7 failed after retries, 8 partly done.",
)
@global_options
@click.version_option(None, "--version", package_name="ci-registry", prog_name="ci-registry")
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Pick a registry, find credentials, and push, copy and promote container images."""
    ctx.obj.take(**given)


def run(arguments: list[str]) -> int:
    """Parse and carry out a command line; returns the exit code."""
    output = Output()
    globals_ = Globals(output)
    with _signals_caught(globals_):
        return _run(arguments, output, globals_)


def _run(arguments: list[str], output: Output, globals_: Globals) -> int:
    try:
        answer = _invoke(arguments, globals_)
        if answer is not None:
            output.answer(answer)
        error = answer.error if answer else None
    except CiRegistryError as failure:
        error = failure
        output.failed(failure)
    except BrokenPipeError:
        # The reader of stdout went away (as in `| head`); writing more would only fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as failure:
        error = StorageError(f"writing the output failed: {failure.strerror or failure}")
        output.failed(error)
    except Exception as bug:  # noqa: BLE001 - the last resort, so that even a bug ends with a sentence and a document
        error = CiRegistryError(f"this is a bug in ci-registry: {type(bug).__name__}: {bug}", hint="please report it")
        output.trace(bug)
        output.failed(error)
    finally:
        globals_.close()
    if error is None:
        return 0
    output.last_words(error)
    return error.exit_code


def _invoke(arguments: list[str], globals_: Globals) -> Answer | None:
    try:
        answer = cli.main(arguments, prog_name="ci-registry", standalone_mode=False, obj=globals_)
    except click.exceptions.Abort as error:
        raise Interrupted from error
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(error.format_message() + "\n")
        raise UsageError("no command was given", hint="see `ci-registry --help`") from error
    except click.ClickException as error:
        raise _usage_error(error) from error
    return answer if isinstance(answer, Answer) else None


def _usage_error(error: click.ClickException) -> UsageError:
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "ci-registry"
    return UsageError(error.format_message().rstrip("."), hint=f"see `{path} --help`")


@contextmanager
def _signals_caught(globals_: Globals) -> Iterator[None]:
    """SIGINT and SIGTERM cancel the run, which then cleans up; a second one ends the program at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        if globals_.cancel:
            # A second signal: the user will not wait for the clean-up.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        globals_.cancel.set(128 + number)
        if not globals_.is_running:
            raise Interrupted(exit_code=128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
