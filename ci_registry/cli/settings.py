"""Options that every command takes, before it or after it, and what they lead to: configuration and places."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..transport.retry import Cancel
from .output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..ops.config import Config
    from ..ops.places import Places

__all__ = ["Globals", "command", "global_options"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--config", "config_file", metavar="FILE", help="Configuration to use in place of the one found."),
    click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        help="How to write the result. [env: CI_REGISTRY_OUTPUT; default: text]",
    ),
    click.option("-v", "--verbose", is_flag=True, default=None, help="Say more on stderr."),
    click.option("-q", "--quiet", is_flag=True, default=None, help="Say nothing on stderr but errors."),
    click.option("--color", type=click.Choice(["auto", "always", "never"]), help="Colour on stderr. [default: auto]"),
)


def global_options(function: F) -> F:
    """Add the global options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


class Globals:
    """What the global options say, and what is opened because of it; one for each run."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.cancel = Cancel()
        self.is_running = False
        self._config_file: str | None = None
        self._places: Places | None = None
        output.choose(os.environ.get("CI_REGISTRY_OUTPUT") or "text")

    def take(
        self,
        *,
        config_file: str | None = None,
        output: str | None = None,
        verbose: bool | None = None,
        quiet: bool | None = None,
        color: str | None = None,
    ) -> None:
        """Take in options; those given later win."""
        self._config_file = config_file or self._config_file
        if output:
            self.output.choose(output)
        self.output.adjust(verbose=verbose, quiet=quiet, color=color)

    @property
    def config(self) -> Config:
        return self.places.config

    @property
    def config_path(self) -> Path | None:
        """The file that --config names."""
        return Path(self._config_file) if self._config_file else None

    @property
    def places(self) -> Places:
        """The targets of the configuration, which is read when this is first asked for."""
        if self._places is None:
            from ..ops.config import load
            from ..ops.places import Places

            config = load(self.config_path, os.environ, Path.cwd())
            self._places = Places(config, os.environ, self.cancel, self.output.warn)
        return self._places

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the engine runs, a signal cancels it and is raised by it; else a signal is raised at once."""
        self.is_running = True
        try:
            yield
        finally:
            self.is_running = False

    def close(self) -> None:
        if self._places is not None:
            self._places.close()


def command(name: str, *, schema: str = "", examples: tuple[str, ...], **extra: Any) -> Callable[[F], click.Command]:
    """A command with the global options, and with examples at the end of its help.

    The function gets `Globals` first and returns an `Answer`; `schema` names its document.
    """

    def decorate(function: F) -> click.Command:
        def invoke(ctx: click.Context, /, **given: Any) -> Any:
            globals_: Globals = ctx.obj
            own = {key: given.pop(key) for key in ("config_file", "output", "verbose", "quiet", "color")}
            globals_.take(**own)
            globals_.output.schema = schema or name
            return function(globals_, **given)

        invoke.__doc__, invoke.__name__ = function.__doc__, name
        if hasattr(function, "__click_params__"):
            invoke.__click_params__ = function.__click_params__  # type: ignore[attr-defined]
        epilog = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)
        pass_context: Callable[..., Any] = click.pass_context
        make: Callable[..., click.Command] = click.command(name, epilog=epilog, **extra)
        return make(global_options(pass_context(invoke)))

    return decorate
