"""init, targets, config."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import ConfigError
from .output import Answer
from .settings import Globals, command

__all__ = ["config", "init", "targets"]


@command("init", schema="config", examples=("ci-registry init", "ci-registry init --file deploy/ci-registry.yaml"))
@click.option("--file", "file", default="ci-registry.yaml", show_default=True, help="The file to write.")
def init(globals_: Globals, file: str) -> Answer:
    """Write a commented ci-registry.yaml to start from."""
    from ..ops.config.template import write_first_file
    from ..ops.results import ConfigReport

    path = Path(file)
    write_first_file(path)
    globals_.output.say("next: name your registry in it, then run `ci-registry config validate`")
    return Answer(ConfigReport(file=str(path)), f"wrote {path}")


@command("targets", examples=("ci-registry targets", "ci-registry targets --output json"))
def targets(globals_: Globals) -> Answer:
    """List the configured targets and the built-in ones."""
    from ..ops.looking import list_targets
    from ..reports.text import targets_text

    report = list_targets(globals_.places)
    return Answer(report, targets_text(report))


@click.group("config")
def config() -> None:
    """Check, show or describe the configuration."""


@command(
    "validate",
    schema="config",
    examples=("ci-registry config validate", "ci-registry --config deploy/ci-registry.yaml config validate"),
)
def validate(globals_: Globals) -> Answer:
    """Check the configuration and name everything that is wrong with it."""
    from ..ops.config import load, problems
    from ..ops.results import ConfigReport

    found = problems(globals_.config_path, os.environ, Path.cwd())
    if not found:
        loaded = load(globals_.config_path, os.environ, Path.cwd())
        report = ConfigReport(file=str(loaded.path) if loaded.path else None, notes=loaded.notes())
        none = "there is no configuration file; the built-in targets are used"
        where = f"{loaded.path} is right" if loaded.path else none
        return Answer(report, "\n".join([where, *(f"note: {note}" for note in report.notes)]))
    report = ConfigReport(file=None, problems=[problem.sentence() for problem in found])
    error: ConfigError = found[0]
    return Answer(report, "\n".join(report.problems), error)


@command("show", schema="config-show", examples=("ci-registry config show", "ci-registry config show --output json"))
def show(globals_: Globals) -> Answer:
    """Show the configuration in force, defaults filled in, secrets never."""
    import yaml

    effective = globals_.config.effective()
    return Answer(effective, yaml.safe_dump(effective, sort_keys=False))


@command(
    "schema",
    schema="schema",
    examples=("ci-registry config schema > schema.json", "ci-registry config schema --of copy"),
)
@click.option("--of", "of", metavar="NAME", help="A document on stdout, such as copy, in place of the file.")
def schema(_globals: Globals, of: str | None) -> Answer:
    """Write the JSON Schema of ci-registry.yaml, or of a command's document."""
    import json

    from ..ops.schemas import schema_of

    document = schema_of(of)
    return Answer(document, json.dumps(document, indent=2))


for each in (validate, show, schema):
    config.add_command(each)
