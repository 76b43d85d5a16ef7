"""Imports go one way, and foreign packages are met in one place each, when they are needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from .sources import ROOT, files, imports

# From the bottom to the top; those in one line do not know each other.
LAYERS = (
    {"errors", "redaction", "user_folders", "_version"},
    {"model"},
    {"transport", "adapters"},
    {"credentials"},
    {"targets"},
    {"kinds"},
    {"engine"},
    {"ops"},
    {"session", "reports"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Each SDK, and the one module that may import it, inside the functions that need it.
SDKS = {
    "boto3": "ci_registry.adapters.aws",
    "botocore": "ci_registry.adapters.aws",
    "docker": "ci_registry.adapters.docker_engine",
    "requests": "ci_registry.adapters.docker_engine",
    "keyring": "ci_registry.adapters.keychain",
    "jenkins": "ci_registry.adapters.jenkins_server",
    "cryptography": "ci_registry.adapters.x509",
    "bcrypt": "ci_registry.adapters.htpasswd",
    "isal": "ci_registry.adapters.compression",
    "zstandard": "ci_registry.adapters.compression",
    "jinja2": "ci_registry.reports.html",
    "markupsafe": "ci_registry.reports.html",
}
ONLY_IN_CLI = {"click", "rich"}


def layer(module: str) -> str:
    """The first name below the package, `__init__` for the package itself."""
    return [*module.split("."), "__init__"][1]


def foreign() -> list[tuple[str, str, bool, bool]]:
    return [
        (each.name.partition(".")[0], each.module, each.lazy, each.for_types)
        for each in imports()
        if each.name.partition(".")[0] not in (*sys.stdlib_module_names, "ci_registry")
    ]


def test_imports_go_one_way() -> None:
    upward = [
        f"{each.module} imports {each.name}"
        for each in imports()
        if each.name.startswith("ci_registry") and not _is_downward(layer(each.module), layer(each.name))
    ]
    assert upward == []


def _is_downward(above: str, below: str) -> bool:
    return above == below or LEVEL[above] > LEVEL[below]


def test_every_part_of_the_package_has_its_layer() -> None:
    parts = {path.relative_to(ROOT / "ci_registry").parts[0].removesuffix(".py") for path in files()}
    assert parts == set(LEVEL)


def test_an_import_that_goes_up_would_be_found() -> None:
    assert not _is_downward("engine", "ops")
    assert not _is_downward("transport", "adapters")
    assert not _is_downward("session", "reports")
    assert _is_downward("cli", "errors")


@pytest.mark.parametrize("sdk", sorted(SDKS))
def test_an_sdk_has_one_importer_and_is_loaded_when_needed(sdk: str) -> None:
    found = [(module, lazy or for_types) for name, module, lazy, for_types in foreign() if name == sdk]
    assert {module for module, _ in found} == {SDKS[sdk]}
    assert all(late for _, late in found), f"{SDKS[sdk]} imports {sdk} when it is itself imported"


def test_terminals_are_known_to_the_command_line_alone() -> None:
    assert {layer(module) for name, module, *_ in foreign() if name in ONLY_IN_CLI} == {"cli"}


def test_no_module_of_the_transport_knows_an_sdk() -> None:
    below = {"errors", "redaction", "model", "transport"}
    values = {"msgspec"}
    assert [(name, module) for name, module, *_ in foreign() if layer(module) in below and name not in values] == []


def test_every_foreign_package_is_declared() -> None:
    text = (ROOT / "setup.cfg").read_text()
    block = re.search(r"install_requires =\n((?: {4}.+\n)+)", text)
    assert block is not None
    declared = {re.split(r"[><=!\[;]", line.strip())[0].lower() for line in block.group(1).splitlines()}
    known_as = {"yaml": "pyyaml", "jenkins": "python-jenkins"}
    brought_along = {"botocore": "boto3", "requests": "docker", "urllib3": "docker", "markupsafe": "jinja2"}
    used = {known_as.get(name, brought_along.get(name, name)) for name, *_ in foreign()}
    assert used - declared == set()


# -- what is loaded ----------------------------------------------------------------------------------------------------

HEAVY = {"boto3", "botocore", "docker", "keyring", "jenkins", "cryptography", "bcrypt", "isal", "zstandard", "jinja2",
         "requests", "urllib3", "rich", "yaml", "msgspec", "ssl", "http.client", "email", "asyncio"}  # fmt: skip


def loaded(code: str, directory: Path = ROOT) -> set[str]:
    """The modules that are loaded after some code ran in a fresh interpreter."""
    program = f"{code}\nimport sys\nsys.stdout.write('\\n' + ' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=30, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


def test_the_version_costs_nothing() -> None:
    code = "from ci_registry.cli.entry import main\nassert main(['--version']) == 0"
    assert loaded(code) & (HEAVY | {"click", "json", "dataclasses"}) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["copy", "--help"], ["push", "--help"], ["inspect", "--help"]])
def test_help_loads_no_more_than_the_command_line_needs(arguments: list[str]) -> None:
    code = f"from ci_registry.cli.entry import main\nassert main({arguments!r}) == 0"
    assert loaded(code) & HEAVY == set()


def test_the_package_itself_costs_nothing() -> None:
    modules = loaded("import ci_registry")
    assert modules & HEAVY == set()
    assert [name for name in modules if name.startswith("ci_registry.")] == []


def test_a_copy_between_registries_loads_no_sdk() -> None:
    modules = loaded("import ci_registry.ops.copying, ci_registry.kinds.plain, ci_registry.targets.layout")
    sdks = {name for name in SDKS if name not in ("isal", "zstandard")}
    assert modules & sdks == set()


def test_the_names_of_the_package_are_explicit_sorted_and_there() -> None:
    import ci_registry

    assert ci_registry.__all__ == sorted(ci_registry.__all__)
    assert dir(ci_registry) == ci_registry.__all__
    for name in ci_registry.__all__:
        assert getattr(ci_registry, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ci_registry.nothing  # noqa: B018


# -- names and sizes ---------------------------------------------------------------------------------------------------


def test_our_jenkins_folder_does_not_hide_python_jenkins() -> None:
    assert (ROOT / "jenkins").is_dir()
    assert list((ROOT / "jenkins").rglob("__init__.py")) == []
    assert "jenkins" in loaded("import jenkins\nassert jenkins.Jenkins.__module__ == 'jenkins'")


def test_no_module_is_named_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper_functions", "manager", "common", "misc"}
    assert [str(path) for path in files() if path.stem in vague] == []


def test_a_module_is_read_in_one_sitting() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files()}
    assert {path: count for path, count in lines.items() if count > 420} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(path) for path in files() if not path.read_text().lstrip().startswith(('"""', 'r"""'))]
    assert [path for path in silent if Path(path).stat().st_size and not path.endswith("_version.py")] == []


def test_one_class_of_errors_for_each_exit_code_and_each_with_its_word() -> None:
    from ci_registry import errors

    words: dict[str, list[str]] = defaultdict(list)
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type):
            assert issubclass(found, errors.CiRegistryError)
            words[found("x").code].append(name)
    assert all(len(names) == 1 for names in words.values())
