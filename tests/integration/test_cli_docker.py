"""`ci-registry` with images where they are built: the docker daemon and its archives, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import Ran, run_cli
from tests.support.dockerd import Dockerd
from tests.support.examples import ROOT
from tests.support.images import ImageBuilder, upload, write_layout
from tests.support.servers import skopeo, skopeo_raw
from tests.support.spaces import RegistrySpace


class Machine:
    """A folder with a configuration whose target `dev` is this test's part of a real registry."""

    def __init__(self, folder: Path, registry: RegistrySpace, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.registry, self._monkeypatch = folder, registry, monkeypatch
        target = f'{{kind: registry, url: "{registry.url}", namespace: {registry.prefix}}}'
        (folder / "ci-registry.yaml").write_text(f"targets: {{dev: {target}}}\n", encoding="utf-8")
        monkeypatch.chdir(folder)

    def ci(self, *arguments: str, stdin: bytes = b"") -> Ran:
        return run_cli(self._monkeypatch, *arguments, stdin=stdin)


@pytest.fixture
def machine(tmp_path: Path, registry: RegistrySpace, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, registry, monkeypatch)


@pytest.fixture
def docker(dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch) -> Dockerd:
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    return dockerd


def digest_of(ran: Ran) -> str:
    assert ran.code == 0, ran.err
    return ran.out.strip().rpartition("@")[2]


def test_push_from_the_daemon_then_pull_by_digest_and_run(
    machine: Machine, docker: Dockerd, hello_layout: Path, registry: RegistrySpace
) -> None:
    assert machine.ci("pull", f"oci:{hello_layout}:1.0", "docker-daemon:hello:1").code == 2  # an index has to be picked
    assert machine.ci("pull", f"oci:{hello_layout}:1.0", "docker-daemon:hello:1", "--platform", "linux/amd64").code == 0
    pushed = machine.ci("push", "hello:1", "--target", "dev")
    digest = digest_of(pushed)
    reference = f"{registry.host}/{registry.repository('hello')}@{digest}"
    docker.run("rmi", "-f", "hello:1")
    docker.run("pull", "-q", reference)
    ran = docker.run("run", "--rm", "--network", "none", reference)
    assert "Hello from an image" in str(ran)


def test_a_second_push_saves_nothing_and_sends_no_blob(
    machine: Machine, docker: Dockerd, registry: RegistrySpace
) -> None:
    docker.build("twice:1", [{"a": b"1" * 50_000}, {"b": b"2" * 50_000}])
    pushed = machine.ci("push", "twice:1", "--target", "dev")
    assert pushed.last.startswith("copied 3 blobs (")
    assert "already there" not in pushed.last, "each blob is counted once"
    first = digest_of(pushed)
    before = len(registry.requests())
    ran = machine.ci("push", "twice:1", "--target", "dev", "-v")
    assert digest_of(ran) == first
    assert f"docker-daemon:twice:1 {first}" in ran.err
    assert "Descriptor(" not in ran.err
    made = registry.requests()[before:]
    assert not [line for line in made if line.method in ("POST", "PATCH", "PUT")]
    assert len(made) <= 6


def test_an_image_that_is_not_there_names_the_nearest(machine: Machine, docker: Dockerd) -> None:
    docker.build("present:1.2", [{"a": b"1"}])
    ran = machine.ci("push", "present:1.3", "--target", "dev")
    assert ran.code == 4
    assert "docker-daemon:present:1.3 was not found" in ran.last
    assert "present:1.2" in ran.last


def test_tagging_a_local_image(machine: Machine, docker: Dockerd) -> None:
    docker.build("tagme:1", [{"a": b"1"}])
    assert machine.ci("tag", "docker-daemon:tagme:1", "two", "--dry-run").code == 0
    assert docker.run("image", "inspect", "tagme:two", check=False).returncode != 0
    ran = machine.ci("tag", "docker-daemon:tagme:1", "two", "three", "--output", "json")
    assert ran.code == 0
    assert ran.result["images"][0]["digest"] == docker.inspect("tagme:two") == docker.inspect("tagme:three")


def test_no_daemon_is_a_sentence(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{machine.folder}/none.sock")
    ran = machine.ci("push", "app:1", "--target", "dev")
    assert ran.code == 7
    assert "docker daemon" in ran.last
    assert "none.sock" in ran.last


def test_a_saved_archive_from_stdin(machine: Machine, docker: Dockerd, registry: RegistrySpace) -> None:
    docker.build("saved:1", [{"a": b"1" * 9000}])
    content = docker.save("saved:1")
    digest = digest_of(machine.ci("push", "-", "--repository", "app", "--tag", "1", "--target", "dev", stdin=content))
    config = json.loads(skopeo_raw(f"docker://{registry.host}/{registry.repository('app')}:1"))["config"]
    assert config["digest"] == docker.inspect("saved:1")
    from_daemon = digest_of(machine.ci("push", "saved:1", "--target", "dev", "--tag", "x"))
    assert from_daemon == digest


def test_an_oci_archive_by_skopeo_keeps_its_digest(
    machine: Machine, registry: RegistrySpace, images: ImageBuilder
) -> None:
    image = images.image()
    upload(image, registry.url, registry.repository("from"), "1")
    source = f"docker://{registry.host}/{registry.repository('from')}:1"
    skopeo("copy", "--src-tls-verify=false", source, f"oci-archive:{machine.folder}/app.tar:1")
    pushed = machine.ci("push", "oci-archive:app.tar", "--repository", "app", "--tag", "1", "--target", "dev")
    assert digest_of(pushed) == image.digest
    inspected = machine.ci("inspect", "oci-archive:app.tar", "--output", "json")
    assert inspected.result["digest"] == image.digest
    assert machine.ci("verify", "oci-archive:app.tar", "--deep").code == 0


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_pulled_archives_are_read_by_skopeo(
    machine: Machine, registry: RegistrySpace, images: ImageBuilder, form: str
) -> None:
    image = images.image(docker=form == "docker-archive")  # skopeo passes over Docker's types in a layout
    upload(image, registry.url, registry.repository("app"), "1")
    name = ":app:1" if form == "docker-archive" else ":1"
    ran = machine.ci("pull", f"dev:{registry.repository('app')}:1", f"{form}:out.tar{name}")
    assert ran.code == 0, ran.err
    found = skopeo("inspect", "--config", "--raw", f"{form}:{machine.folder}/out.tar{name}").stdout
    assert json.loads(found)["architecture"] == "amd64"
    again = digest_of(machine.ci("push", f"{form}:out.tar", "--repository", "b", "--tag", "1", "--target", "dev"))
    assert form == "docker-archive" or again == image.digest


def test_an_archive_that_could_not_be_filled_is_not_there(
    machine: Machine, registry: RegistrySpace, images: ImageBuilder
) -> None:
    image = images.image()
    write_layout(image, machine.folder / "hello", "1")
    victim = machine.folder / "hello/blobs/sha256" / image.document["layers"][0]["digest"].partition(":")[2]
    victim.write_bytes(victim.read_bytes()[:-1])
    ran = machine.ci("copy", "oci:hello:1", "oci-archive:out.tar:1")
    assert ran.code in (4, 6, 7)
    assert sorted(path.name for path in machine.folder.iterdir()) == ["ci-registry.yaml", "hello"]


def test_a_daemon_image_can_only_be_looked_at_after_it_arrived(machine: Machine, docker: Dockerd) -> None:
    docker.build("look:1", [{"a": b"1"}])
    ran = machine.ci("inspect", "docker-daemon:look:1")
    assert ran.code == 2
    assert "push or copy it first" in ran.last


def test_a_dry_run_of_a_daemon_image_writes_nothing(
    machine: Machine, docker: Dockerd, registry: RegistrySpace, clean_environment: Path
) -> None:
    docker.build("dry:1", [{"a": b"1" * 5000}])
    ran = machine.ci("push", "dry:1", "--target", "dev", "--dry-run", "--output", "json")
    assert ran.code == 0, ran.err
    assert {line.method for line in registry.requests()} <= {"GET", "HEAD"}
    assert not list(clean_environment.rglob("layers.json"))


@pytest.fixture
def hello_layout(tmp_path: Path) -> Path:
    """The image of the demonstration."""
    import runpy

    runpy.run_path(str(ROOT / "docs/demo/hello_image.py"))["write_hello"](tmp_path / "hello")
    return tmp_path / "hello"
