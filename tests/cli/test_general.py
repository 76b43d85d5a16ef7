"""What holds for every command: help, envelope, exit codes, the last sentence, global options."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest

from ci_registry.cli.main import COMMANDS, cli
from ci_registry.ops.schemas import DOCUMENTS, schema_of
from tests.support.fake_registry import FakeRegistry
from tests.support.images import ImageBuilder, upload, write_layout

from .conftest import Cli


def all_commands() -> dict[str, click.Command]:
    """Every command by its words, groups left out."""
    found: dict[str, click.Command] = {}

    def walk(words: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                walk(f"{words} {name}".strip(), inner)
        else:
            found[words] = command

    walk("", cli)
    return found


ALL = all_commands()


@pytest.mark.parametrize("words", ALL)
def test_help_ends_with_examples_that_parse(ci: Cli, words: str) -> None:
    ran = ci(*words.split(), "--help")
    assert ran.code == 0
    examples = ran.out.rpartition("Examples:\n")[2].splitlines()
    assert examples
    for line in filter(None, map(str.strip, examples)):
        assert f"ci-registry {words}" in re.sub(r"--config \S+ ", "", line), line
        called = line.rpartition("ci-registry ")[2].rpartition(f"{words} ")[2]
        arguments = shlex.split(re.sub(r"> .*|\)[:;\"].*", "", called))
        if arguments and arguments[-1] != words.split()[-1]:
            ALL[words].make_context(words, arguments, help_option_names=["-h", "--help"])


def test_the_overview_names_every_command(ci: Cli) -> None:
    ran = ci("--help")
    assert ran.code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name}\b", ran.out, re.MULTILINE)


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--no-such-option", 2)])
def test_the_program_ends_with_all_that_was_to_be_written_and_called(argument: str, code: int) -> None:
    program = (
        "import atexit, sys; from ci_registry.cli.entry import script; atexit.register(print, 'called at the end'); "
        f"sys.argv = ['ci-registry', '{argument}']; script()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == code
    assert ran.stdout.endswith("called at the end\n")
    assert ("ci-registry" in ran.stdout) == (code == 0)


def test_a_version_that_can_not_be_written_is_no_success() -> None:
    command = f"{sys.executable} -m ci_registry --version > /dev/full"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode != 0
    assert "No space left on device" in ran.stderr


def test_python_m_is_the_same_program() -> None:
    ran = subprocess.run([sys.executable, "-m", "ci_registry", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"ci-registry \d+\.\d+\.\d+\n", ran.stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    environ = {**os.environ, "_CI_REGISTRY_COMPLETE": f"{shell}_source"}
    command = [sys.executable, "-m", "ci_registry"]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "_CI_REGISTRY_COMPLETE" in ran.stdout


@pytest.mark.parametrize("before", [True, False])
def test_global_options_before_and_after_the_command(ci: Cli, folder: Path, before: bool) -> None:
    (folder / "other.yaml").write_text("targets: {mine: {kind: oci-layout, path: images}}\n")
    options = ("--config", "other.yaml", "--output", "json")
    ran = ci(*options, "targets") if before else ci("targets", *options)
    assert ran.code == 0
    assert ran.result["targets"][0]["name"] == "mine"


def test_output_from_the_environment(ci: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_REGISTRY_OUTPUT", "json")
    assert ci("targets").document["schema"] == "targets/1"
    assert ci("targets", "--output", "text").out.startswith("NAME")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_published_schemas_are_schemas(ci: Cli, name: str) -> None:
    ran = ci("config", "schema", "--of", name)
    assert ran.code == 0
    document = json.loads(ran.out)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document == schema_of(f"{name}/1")


def test_a_failure_in_json_is_a_document_too(ci: Cli, targets: FakeRegistry) -> None:
    ran = ci("inspect", "dev:app:1", "--output", "json")
    assert ran.code == 4
    document = ran.document
    assert document["result"] is None
    assert document["error"]["exit"] == 4
    assert document["error"]["code"] == "not-found"
    assert ran.last.startswith("ERROR ")
    assert ran.last.endswith(".")


@pytest.mark.parametrize(
    "arguments, code, last",
    [
        (("bogus",), 2, "there is no command 'bogus'"),
        (("pus",), 2, "did you mean 'push'?"),
        ((), 2, "no command was given"),
        (("push", "app:1"), 2, "Missing option '--target'"),
        (("copy", "--nonsense"), 2, "No such option"),
        (("copy", "nowhere:app:1", "dev:app"), 4, "there is no target named 'nowhere'"),
        (("copy", "dve:app:1", "dev:app"), 4, "did you mean 'dev'?"),
        (("copy", "dev:App:1", "dev:app"), 2, "must be lowercase; write it as 'app'"),
        (("copy", "dev:app:", "dev:app"), 2, "the tag in 'app:' is empty; check that the variable it came from is set"),
        (("copy", "https://dev/app:1", "dev:app"), 2, "is not a place"),
        (("copy", "docker:dev/app:1", "dev:app"), 2, "write docker://dev/app:1"),
        (("copy", "dev:app:1", f"dev:app@sha256:{'0' * 64}"), 2, "names a digest, which a destination can't have"),
        (("copy", "dev:app@sha256:123", "dev:app"), 2, "'sha256:123' is not a digest"),
        (("push", "dev:1.2", "--target", "prod"), 2, "write docker-daemon:dev:1.2 for the local image"),
        (("push", "oci:x:1", "--target", "dev", "--target", "dev", "--repository", "a"), 2, "a target is named twice"),
        (("inspect", "dev:app:1", "--platform", "linux"), 2, "'linux' is not a platform"),
        (("config", "schema", "--of", "cpy"), 2, "did you mean 'copy'?"),
    ],
)
def test_wrong_usage(ci: Cli, targets: FakeRegistry, arguments: tuple[str, ...], code: int, last: str) -> None:
    if "--platform" in arguments:
        upload(ImageBuilder(1).index(), targets.url, "app", "1")
    ran = ci(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert last in ran.last
    assert ran.last.endswith((".", "?"))


@pytest.mark.parametrize(
    "text, last",
    [
        ("targets: {dev: {kind: registry, urll: http://x}}", "targets.dev.urll"),
        ("targets: {dev: {kind: registry, url: http://x, max_connections: many}}", "targets.dev.max_connections"),
        ("targets: {dev: {kind: registry, url: http://x, username: u, password: hunter22}}", "targets.dev.password"),
        ("targets: {dev: {kind: registry, url: 'http://${HOST_OF_DEV}'}}", "HOST_OF_DEV"),
        ("targets: [", "ci-registry.yaml"),
    ],
)
def test_a_wrong_configuration_names_the_place_and_no_secret(ci: Cli, folder: Path, text: str, last: str) -> None:
    (folder / "ci-registry.yaml").write_text(text)
    ran = ci("list", "dev:app")
    assert ran.code == 2
    assert last in ran.last
    assert "hunter22" not in ran.out + ran.err


def test_a_layout_with_a_missing_or_altered_blob(
    ci: Cli, folder: Path, images: ImageBuilder, targets: FakeRegistry
) -> None:
    image = images.image(layers=2)
    layout = folder / "hello"
    write_layout(image, layout, "1")
    victim = layout / "blobs/sha256" / next(iter(image.document["layers"]))["digest"].partition(":")[2]
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    ran = ci("copy", "oci:hello:1", "dev:app:1")
    assert ran.code == 6
    assert ran.last.startswith("ERROR source: ")
    verified = ci("verify", "oci:hello:1", "--deep")
    assert verified.code == 6
    assert "whose digest is" in verified.last
    victim.unlink()
    gone = ci("copy", "oci:hello:1", "dev:app:1")
    assert gone.code == 4
    assert targets.repository("app").tags == {}


def test_nothing_is_said_when_quiet(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    upload(images.image(), targets.url, "dev/app", "1")
    ran = ci("-q", "copy", "dev:dev/app:1", "backup:app:1")
    assert (ran.code, ran.err) == (0, "")


def test_verbose_names_every_part(ci: Cli, targets: FakeRegistry, images: ImageBuilder) -> None:
    image = images.image()
    upload(image, targets.url, "dev/app", "1")
    ran = ci("copy", "dev:dev/app:1", "backup:app:1", "-v")
    for digest in image.blobs:
        assert f"copied backup/app {digest}" in ran.err


def test_plain_progress_lines(
    ci: Cli, targets: FakeRegistry, images: ImageBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support import fake_registry

    upload(images.image(), targets.url, "dev/app", "1")
    monkeypatch.setattr("ci_registry.cli.progress.PLAIN_SECONDS", 0.02)
    targets.script("GET", "/blobs/", fake_registry.actions.delay(0.3), times=None)
    ran = ci("copy", "dev:dev/app:1", "backup:app:1")
    assert re.search(r"^\d+ blobs copied \(.* read\), .*tags set, .*/s$", ran.err, re.MULTILINE)
    assert "\r" not in ran.err
    assert "\x1b" not in ran.err


def test_a_closed_stdout_is_no_failure(folder: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m ci_registry config schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environ, timeout=30, check=False)
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr


def test_a_bug_ends_with_a_sentence_and_exit_1(ci: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr("ci_registry.ops.looking.list_targets", broken)
    ran = ci("targets", "--output", "json")
    assert ran.code == 1
    assert ran.document["error"]["exit"] == 1
    assert ran.last == "ERROR this is a bug in ci-registry: ZeroDivisionError: seven; please report it."
    assert "Traceback" in ran.err
