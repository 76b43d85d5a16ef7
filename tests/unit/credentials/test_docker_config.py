"""Docker's and Podman's configuration files: which entry wins, and what is wrong with broken ones."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ci_registry.credentials.chain import Chain, Credential, Lookup, NoAnswer, Skipped, Unavailable
from ci_registry.credentials.docker_config import DockerConfigProvider, config_paths, matching_keys
from ci_registry.errors import AccessError, ConfigError, InputFileError

from .helper_programs import helper_environ, write_helper


def auth(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return helper_environ(tmp_path)


def write(environ: dict[str, str], document: Any, path: str = ".docker/config.json") -> Path:
    file = Path(environ["HOME"], path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def find(environ: dict[str, str], host: str = "reg:5000", repository: str | None = None) -> Credential | None:
    return DockerConfigProvider(environ, helper_seconds=0.5).find(Lookup(host, repository))


def test_an_entry_with_user_and_password(environ: dict[str, str]) -> None:
    file = write(environ, {"auths": {"reg:5000": auth("bob", "with:colon")}})
    found = find(environ)
    assert found == Credential("bob", "with:colon")
    assert found
    assert found.source == f"{file}, auths 'reg:5000'"


@pytest.mark.parametrize(
    "entry, credential",
    [
        ({"auth": base64.b64encode(b"bob:padded\0\0").decode()}, Credential("bob", "padded")),
        ({"username": "bob", "password": "in the open"}, Credential("bob", "in the open")),
        ({**auth("bob", ""), "identitytoken": "refresh"}, Credential("bob", "", identity_token="refresh")),
        ({"identitytoken": "refresh"}, Credential("", "", identity_token="refresh")),
        ({"registrytoken": "bearer"}, Credential("", "", registry_token="bearer")),
        (auth("<token>", "refresh"), Credential("", "", identity_token="refresh")),
    ],
)
def test_shapes_of_an_entry(environ: dict[str, str], entry: dict[str, str], credential: Credential) -> None:
    write(environ, {"auths": {"reg:5000": entry}})
    assert find(environ) == credential


@pytest.mark.parametrize(
    "lookup, keys, expected",
    [
        (Lookup("reg"), ["other", "https://reg"], ["https://reg"]),
        (Lookup("reg"), ["https://reg/v1/", "reg:443", "reg"], ["reg", "https://reg/v1/", "reg:443"]),
        (Lookup("reg"), ["reg:80", "http://reg/v2/", "reg:5000"], ["http://reg/v2/", "reg:80"]),
        (Lookup("reg:5000"), ["REG:5000", "reg", "https://reg:5000/"], ["REG:5000", "https://reg:5000/"]),
        (Lookup("reg:443"), ["reg"], ["reg"]),
        (
            Lookup("docker.io"),
            ["registry-1.docker.io", "docker.io", "https://index.docker.io/v1/"],
            ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"],
        ),
        (Lookup("reg", "team/app"), ["reg", "reg/team", "reg/team/app", "reg/te"], ["reg/team/app", "reg/team", "reg"]),
        (Lookup("reg"), ["reg/team"], []),
        (Lookup("reg", "team/app"), ["reg/v2/", "reg/team/"], ["reg/team/", "reg/v2/"]),
        (Lookup("reg.example"), ["evil-reg.example", "reg.example.evil", "https://evil/reg.example"], []),
    ],
)
def test_which_keys_stand_for_a_lookup(lookup: Lookup, keys: list[str], expected: list[str]) -> None:
    assert matching_keys(keys, lookup) == expected


def test_a_stale_second_key_does_not_win(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"https://reg:5000": auth("old", "stale"), "reg:5000": auth("new", "fresh")}})
    assert find(environ) == Credential("new", "fresh")


def test_an_empty_entry_is_no_credential(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"reg:5000": {}, "https://reg:5000/v1/": auth("bob", "hunter2!")}})
    assert find(environ) == Credential("bob", "hunter2!")


def test_nothing_there(environ: dict[str, str]) -> None:
    with pytest.raises(NoAnswer, match=r"no entry for reg:5000 in .*config\.json, which does not exist"):
        find(environ)
    file = write(environ, {"auths": {"other": auth("bob", "hunter2!")}})
    with pytest.raises(NoAnswer) as info:
        find(environ)
    assert info.value.reason == f"no entry for reg:5000 in {file}"


def test_where_files_are_looked_for(tmp_path: Path) -> None:
    home = tmp_path
    run = "/run/user/1"
    default = {"HOME": str(home), "XDG_RUNTIME_DIR": run}
    docker = home / ".docker/config.json"
    podman = [Path(run, "containers/auth.json"), home / ".config/containers/auth.json"]
    assert config_paths(default) == [docker, *podman]
    assert config_paths({**default, "REGISTRY_AUTH_FILE": "/a.json"}) == [Path("/a.json"), docker]
    assert config_paths({**default, "DOCKER_CONFIG": "/d"}) == [Path("/d/config.json"), *podman]
    both = {**default, "DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/a.json"}
    assert config_paths(both) == [Path("/d/config.json"), Path("/a.json")]


def test_podman_files_with_path_keys(environ: dict[str, str]) -> None:
    write(
        environ,
        {"auths": {"reg:5000/team": auth("team", "t"), "reg:5000": auth("all", "a")}},
        "run/containers/auth.json",
    )
    environ["XDG_RUNTIME_DIR"] = f"{environ['HOME']}/run"
    chain = Chain([DockerConfigProvider(environ)])
    assert chain.find(Lookup("reg:5000", "team/app")).username == "team"
    assert chain.find(Lookup("reg:5000", "teams/app")).username == "all"
    assert chain.find(Lookup("reg:5000")).username == "all"


@pytest.mark.parametrize(
    "document, problem",
    [
        ("{nonsense s3cret-here", "it is not JSON (line 1, column 2)"),
        ("", "it is not JSON (line 1, column 1)"),
        ('["s3cret-here"]', "it is not a JSON object"),
        ({"auths": []}, "'auths' is not an object"),
        ({"auths": {"reg:5000": "s3cret-here"}}, "auths 'reg:5000' is not an object"),
        (
            {"auths": {"reg:5000": {"auth": "s3cret-here!"}}},
            "'auth' of auths 'reg:5000' is not base64 of user:password",
        ),
        (
            {"auths": {"reg:5000": {"auth": "bm8tY29sb24="}}},
            "'auth' of auths 'reg:5000' is not base64 of user:password",
        ),
        ({"auths": {"reg:5000": auth("bob", "")}}, "'auth' of auths 'reg:5000' is not base64 of user:password"),
        ({"auths": {"reg:5000": {"identitytoken": 1}}}, "a value of auths 'reg:5000' is not a string"),
        ({"credHelpers": {"reg:5000": 1}}, "the helper of 'reg:5000' is not a string"),
        ({"credsStore": []}, None),
        ({"credsStore": ["x"]}, "the helper of 'credsStore' is not a string"),
    ],
)
def test_a_broken_file_is_an_error(environ: dict[str, str], document: Any, problem: str | None) -> None:
    file = write(environ, document)
    if problem is None:
        with pytest.raises(NoAnswer):
            find(environ)
        return
    with pytest.raises(InputFileError) as info:
        find(environ)
    assert info.value.exit_code == 2
    assert str(info.value) == f"reading the credentials in {file} failed: {problem}"
    assert "s3cret-here" not in info.value.sentence()
    assert info.value.__context__ is None


def test_an_entry_for_another_host_does_no_harm(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"other": {"auth": "!"}, "reg:5000": auth("bob", "hunter2!")}})
    assert find(environ) == Credential("bob", "hunter2!")


def test_a_file_that_can_not_be_read(environ: dict[str, str]) -> None:
    Path(environ["HOME"], ".docker/config.json").mkdir(parents=True)
    with pytest.raises(InputFileError, match=r"config\.json failed: Is a directory"):
        find(environ)


ANSWER = 'read url; echo "$url" >> "$HOME/asked"; printf \'{"Username":"%s","Secret":"%s"}\' "$(basename $0)" "$url"'


def asked(environ: dict[str, str]) -> list[str]:
    return Path(environ["HOME"], "asked").read_text().splitlines()


def test_the_helper_of_a_host_goes_first(environ: dict[str, str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_helper(tmp_path, name, ANSWER)
    document = {"auths": {"reg:5000": auth("x", "y")}, "credsStore": "two", "credHelpers": {"reg:5000": "one"}}
    file = write(environ, document)
    found = find(environ)
    assert found == Credential("docker-credential-one", "reg:5000")
    assert found
    assert found.source == f"{file}, credHelpers 'reg:5000'"
    found = find(environ, "other")
    assert found == Credential("docker-credential-two", "other")
    assert found
    assert found.source == f"{file}, credsStore 'two'"


def test_a_helper_is_asked_by_the_names_that_docker_uses(environ: dict[str, str], tmp_path: Path) -> None:
    script = (
        f'{ANSWER.split(";")[0]}; echo "$url" >> "$HOME/asked"; echo "credentials not found in native keychain"; exit 1'
    )
    write_helper(tmp_path, "none", script)
    write(environ, {"auths": {"https://reg:5000/v1/": {}, "other": {}}, "credsStore": "none"})
    for host in ("reg:5000", "docker.io"):
        with pytest.raises(NoAnswer, match="has nothing for"):
            find(environ, host)
    assert asked(environ) == ["https://reg:5000/v1/", "reg:5000", "https://index.docker.io/v1/"]


def test_a_helper_is_asked_once_for_many_repositories(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "one", ANSWER)
    write(environ, {"credsStore": "one"})
    chain = Chain([DockerConfigProvider(environ)])
    for repository in ("a", "b", "c"):
        assert chain.find(Lookup("reg:5000", repository)).password == "reg:5000"
    assert asked(environ) == ["reg:5000"]


def test_a_helper_without_an_answer_leaves_it_to_the_file(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "none", 'echo "credentials not found in native keychain"; exit 1')
    write(environ, {"auths": {"reg:5000": auth("bob", "hunter2!")}, "credsStore": "none"})
    assert find(environ) == Credential("bob", "hunter2!")


def test_a_missing_helper_of_this_host_is_an_error(environ: dict[str, str]) -> None:
    file = write(environ, {"credHelpers": {"reg:5000": "absent"}})
    with pytest.raises(ConfigError) as info:
        find(environ)
    expected = f"the credential helper docker-credential-absent ({file}, credHelpers 'reg:5000') is not on PATH"
    assert str(info.value) == expected


def test_a_failing_store_that_keeps_this_host_is_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "slow", "sleep 30")
    write(environ, {"auths": {"reg:5000": {}}, "credsStore": "slow"})
    with pytest.raises(AccessError, match=r"credsStore 'slow'.*did not answer within 0\.5 seconds"):
        find(environ)


def test_a_failing_store_that_may_not_know_this_host_is_only_unavailable(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"other": {}}, "credsStore": "desktop"})
    with pytest.raises(Unavailable, match=r"docker-credential-desktop .* is not on PATH"):
        find(environ)
    found = Chain([DockerConfigProvider(environ)]).find(Lookup("reg:5000"))
    assert "docker-credential-desktop" in found.source


def test_a_failing_store_does_not_hide_an_entry(environ: dict[str, str]) -> None:
    write(environ, {"auths": {"reg:5000": auth("bob", "hunter2!")}, "credsStore": "desktop"})
    assert find(environ) == Credential("bob", "hunter2!")


@pytest.mark.parametrize("setting", [{"credHelpers": {"reg:5000": "ci-registry"}}, {"credsStore": "ci-registry"}])
def test_our_own_helper_is_skipped(environ: dict[str, str], tmp_path: Path, setting: dict[str, Any]) -> None:
    write_helper(tmp_path, "ci-registry", f"touch {tmp_path}/called; exit 1")
    write(environ, setting)
    with pytest.raises(Skipped, match="is not asked, as that would come back here"):
        find(environ)
    write(environ, {**setting, "auths": {"reg:5000": auth("bob", "hunter2!")}})
    assert find(environ) == Credential("bob", "hunter2!")
    assert not (tmp_path / "called").exists()


def test_a_store_is_asked_where_we_are_the_helper_of_the_host(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "one", ANSWER)
    write(environ, {"credHelpers": {"reg:5000": "ci-registry"}, "credsStore": "one"})
    assert find(environ) == Credential("docker-credential-one", "reg:5000")


def test_no_helper_is_asked_from_inside_a_helper(environ: dict[str, str], tmp_path: Path) -> None:
    write_helper(tmp_path, "alias", f"touch {tmp_path}/called; exit 1")
    write(environ, {"credsStore": "alias"})
    with pytest.raises(Skipped):
        find({**environ, "CI_REGISTRY_INSIDE_HELPER": "1"})
    assert not (tmp_path / "called").exists()
