"""Places as people type them."""

from __future__ import annotations

import pytest

from ci_registry.errors import CiRegistryError
from ci_registry.ops.config import Config
from ci_registry.ops.places import Place, Places, parse_place

TARGETS = ("dev", "prod", "hub")
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "text, expected",
    [
        ("-", Place("stdin", "")),
        ("dev:team/app:1.2", Place("target", "dev", "team/app", "1.2")),
        (f"dev:app@{DIGEST}", Place("target", "dev", "app", None, DIGEST)),
        (f"dev:app:1@{DIGEST}", Place("target", "dev", "app", "1", DIGEST)),
        ("dev:", Place("target", "dev")),
        ("docker://busybox", Place("docker", "docker.io", "library/busybox")),
        ("docker://index.docker.io/a/b:1", Place("docker", "docker.io", "a/b", "1")),
        ("docker://localhost:5000/app", Place("docker", "localhost:5000", "app")),
        ("docker://[::1]:5000/app:x", Place("docker", "[::1]:5000", "app", "x")),
        ("docker-daemon:app:1", Place("docker-daemon", "", "app", "1")),
        ("docker-daemon:localhost:5000/app:1", Place("docker-daemon", "", "localhost:5000/app", "1")),
        ("docker-archive:a.tar", Place("docker-archive", "a.tar")),
        ("docker-archive:dir/a.tar:app:1", Place("docker-archive", "dir/a.tar", "app", "1")),
        ("docker-archive:d/a.tar:localhost:50/app:1", Place("docker-archive", "d/a.tar", "localhost:50/app", "1")),
        ("docker-archive:a.tar:quay.io/x/app:1", Place("docker-archive", "a.tar", "quay.io/x/app", "1")),
        ("oci:images/app:1.0", Place("oci", "images/app", "", "1.0")),
        ("oci:./images", Place("oci", "./images")),
        ("oci-archive:/tmp/a.tar:v1", Place("oci-archive", "/tmp/a.tar", "", "v1")),
    ],
)
def test_places_that_parse(text: str, expected: Place) -> None:
    place = parse_place(text, TARGETS)
    assert place == expected
    if text.partition(":")[0] in (*TARGETS, "oci", "oci-archive", "docker-archive"):
        assert str(place).removesuffix(":") == text.removesuffix(":")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("app:1", Place("docker-daemon", "", "app", "1")),
        ("team/app", Place("docker-daemon", "", "team/app")),
        ("dev:team/app:1", Place("target", "dev", "team/app", "1")),
        ("quay.io/x/app:1", Place("docker-daemon", "", "quay.io/x/app", "1")),
    ],
)
def test_bare_names_are_local_images_where_a_command_says_so(text: str, expected: Place) -> None:
    assert parse_place(text, TARGETS, default="docker-daemon") == expected


def places(**targets: dict[str, object]) -> Places:
    return Places(Config({"targets": targets}, environ={}), {})


def test_docker_host_uses_the_configured_target() -> None:
    opened = places(dev={"kind": "registry", "url": "http://registry.test:5000"})
    assert opened.registry("registry.test:5000") is opened.target("dev")
    assert opened.registry("other.test").name == "other.test"


def test_docker_host_leaves_out_the_schemes_own_port() -> None:
    opened = places(dev={"kind": "registry", "url": "https://registry.test"})
    assert opened.registry("registry.test:443") is opened.target("dev")


def test_two_targets_on_one_host_have_to_be_named() -> None:
    same = {"kind": "registry", "url": "https://registry.test"}
    with pytest.raises(CiRegistryError, match="could be any of the targets a, b") as caught:
        places(a=same, b=same).registry("registry.test")
    assert caught.value.exit_code == 2


def test_docker_io_uses_the_configured_hub_target() -> None:
    assert places().registry("docker.io").name == "dockerhub"
    assert places(hub={"kind": "dockerhub", "namespace": "me"}).registry("docker.io").name == "hub"
