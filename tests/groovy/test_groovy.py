"""The Jenkins library and the pipelines, in a harness of our own under Groovy 2.4, all in one JVM.

`sh` really runs the program against real registries; see harness/Build.groovy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import pytest

from tests.support.docker_registry import DockerRegistry
from tests.support.images import ImageBuilder, write_layout
from tests.support.process import find_program
from tests.support.secrets import LeakSearch

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLANTED = "a secret that gets out"
PASSWORDS = {name: f"correct-{name}-horse-battery" for name in ("dev", "staging", "prod")}


def cases() -> list[str]:
    found = [
        f"{file.stem}: {name}"
        for file in sorted((HERE / "cases").glob("*.groovy"))
        for name in re.findall(r"^test\('([^']+)'\)", file.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert len(found) == len(set(found))
    return found


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """What came of each case. The first worker that asks runs them all."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    results = shared / "groovy-results.json"
    with filelock.FileLock(shared / "groovy.lock"):
        if not results.exists():
            run_cases(shared / "groovy", results)
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return found


def run_cases(work: Path, results: Path) -> None:
    work.mkdir()
    with ExitStack() as stack:
        registries = {
            name: stack.enter_context(DockerRegistry(users={f"{name}-user": password}, in_memory=True))
            for name, password in PASSWORDS.items()
        }
        setup = prepare(work, registries)
        search, planted = LeakSearch(*PASSWORDS.values()), LeakSearch(PLANTED)
        with arguments_seen() as seen:
            done = run_groovy(work, setup)
        for arguments in seen:
            search.look_at("arguments", arguments)
            planted.look_at("arguments", arguments)
        for name in ("builds", "home"):
            search.look_into(work / name)
            planted.look_into(work / name)
    answers = json.loads(Path(setup["results"]).read_text(encoding="utf-8")) if done.returncode == 0 else []
    for answer in answers:
        search.look_at(f"log of {answer['name']}", answer["raw"])
        planted.look_at(f"log of {answer['name']}", answer["raw"])
    document = {
        "groovy": done.stdout[-5000:] + done.stderr[-5000:],
        "leaks": search.leaks,
        "planted": [leak.replace(str(work), "file of ") for leak in planted.leaks],
        "cases": {f"{Path(answer['file']).stem}: {answer['name']}": answer for answer in answers},
    }
    results.write_text(json.dumps(document), encoding="utf-8")


# Stands in for docker: a build gives the image of its platform, or the one that the file `which` names, as an archive.
DOCKER = """#!/bin/sh
[ "$1 $2" = "buildx build" ] || exit 1
platform=$(cat which 2> /dev/null || echo amd64)
for argument; do
    case $argument in
        type=oci,dest=*) destination=${argument#type=oci,dest=} ;;
        linux/*) platform=${argument#linux/} ;;
    esac
done
tar -C "${0%/*}/../repository/$platform" -cf "$destination" .
"""


@contextmanager
def arguments_seen() -> Iterator[set[bytes]]:
    """The arguments of all processes that run meanwhile. They are searched afterwards: there are many, mostly alike."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.03):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it ended
                    seen.add((process / "cmdline").read_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def prepare(work: Path, registries: dict[str, DockerRegistry]) -> dict[str, Any]:
    for name in ("bin", "builds", "home", "judge", "repository"):
        (work / name).mkdir()
    programs = {"ci-registry": "ci_registry", "docker-credential-ci-registry": "ci_registry.cli.docker_credential"}
    for program, module in programs.items():
        launcher = work / "bin" / program
        launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        launcher.chmod(0o755)
    docker = work / "bin" / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    builder = ImageBuilder(zlib.crc32(b"groovy"))
    digests = {}
    for name in ("image", "other", "amd64", "arm64"):
        image = builder.image(platform="linux/arm64" if name == "arm64" else "linux/amd64")
        write_layout(image, work / "repository" / name, "latest")
        digests[name] = image.digest
    return {
        "library": str(ROOT / "jenkins"),
        "pipelines": str(ROOT / "pipelines"),
        "cases": str(HERE / "cases"),
        "results": str(work / "results.json"),
        "work": str(work / "builds"),
        "judge": str(work / "judge"),
        "repository": str(work / "repository"),
        "bin": str(work / "bin"),
        "planted": PLANTED,
        "pythonPath": str(ROOT),
        "digests": digests,
        "registries": {
            name: {"url": server.url, "host": server.host, "username": f"{name}-user", "password": PASSWORDS[name]}
            for name, server in registries.items()
        },
    }


def run_groovy(work: Path, setup: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = work / "setup.json"
    file.write_text(json.dumps(setup), encoding="utf-8")
    java = Path(os.path.realpath(find_program("java")))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work / "home"),
        "JAVA_HOME": str(java.parent.parent),
        "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -Xshare:auto",
    }
    command = [find_program("groovy"), "-cp", str(HERE / "harness"), str(HERE / "harness" / "Suite.groovy"), str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400)


@pytest.mark.parametrize("case", cases())
def test_case(outcomes: dict[str, Any], case: str) -> None:
    assert outcomes["cases"], outcomes["groovy"]
    outcome = outcomes["cases"][case]
    assert outcome["ok"], f"{outcome['message']}\n--- console\n{outcome['log']}"


def test_no_password_is_in_any_output_file_or_argument(outcomes: dict[str, Any]) -> None:
    assert outcomes["leaks"] == []


def test_the_search_finds_a_leak(outcomes: dict[str, Any]) -> None:
    """The case that plants a secret in an argument, an output and a file is seen, each time."""
    assert sorted({leak.rpartition(": ")[0].partition(" of ")[0] for leak in outcomes["planted"]}) == [
        "arguments",
        "file",
        "log",
    ]
