"""The client's side of the credential helper protocol, against real programs, good and bad."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ci_registry.credentials.chain import Credential
from ci_registry.credentials.helper import Helper, inside_helper, protocol_pair
from ci_registry.errors import AccessError, CiRegistryError, ConfigError

from .helper_programs import helper_environ, write_helper

PLACE = "/home/bob/.docker/config.json, credsStore 'test'"


def helper(folder: Path, script: str, *, seconds: float = 10, name: str = "test") -> Helper:
    write_helper(folder, "test", script)
    return Helper(name, PLACE, helper_environ(folder), seconds)


def test_get(tmp_path: Path) -> None:
    found = helper(
        tmp_path, 'read url; printf \'{"ServerURL":"%s","Username":"bob","Secret":"%s-%s"}\' "$url" "$1" "$url"'
    ).get("reg:5000")
    assert found == Credential("bob", "get-reg:5000")
    assert found
    assert found.source == PLACE


def test_the_user_token_marks_an_identity_token(tmp_path: Path) -> None:
    found = helper(tmp_path, 'echo \'{"Username":"<token>","Secret":"refresh-1"}\'').get("reg")
    assert found == Credential("", "", identity_token="refresh-1")


@pytest.mark.parametrize(
    "script",
    [
        'echo "credentials not found in native keychain"; exit 1',
        'echo \'{"ServerURL":"","Username":"","Secret":""}\'',
    ],
)
def test_nothing_found(tmp_path: Path, script: str) -> None:
    assert helper(tmp_path, script).get("reg") is None


@pytest.mark.parametrize(
    "script, problem",
    [
        ("echo 's3cret-in-rubbish {'", "its answer is not the JSON object of the helper protocol"),
        ("echo '[\"s3cret-in-rubbish\"]'", "its answer is not the JSON object of the helper protocol"),
        ("printf '\\377\\376s3cret-in-rubbish'", "its answer is not the JSON object of the helper protocol"),
        ("true", "its answer is not the JSON object of the helper protocol"),
        ('echo \'{"Username":"bob","Secret":1}\'', "its Username or Secret is not a string"),
        ('echo \'{"Username":"bob","Secret":""}\'', "its answer has no Secret"),
        ('echo \'{"Username":"","Secret":"s3cret-in-rubbish"}\'', "its answer has no Username"),
        ("echo s3cret-in-rubbish; exit 3", "it failed with exit status 3"),
        ("echo s3cret-in-rubbish >&2; exit 3", "it failed with exit status 3"),
        (
            "echo 's3cret-in-rubbish Cannot autolaunch D-Bus without X11 $DISPLAY'; exit 1",
            "it failed with exit status 1 and said 'Cannot autolaunch D-Bus'",
        ),
        ("yes s3cret-in-rubbish", "it printed more than 1 MiB"),
        ("kill -9 $$", "it failed with exit status -9"),
    ],
)
def test_a_bad_answer_is_an_error_that_quotes_nothing(tmp_path: Path, script: str, problem: str) -> None:
    with pytest.raises(AccessError) as info:
        helper(tmp_path, script).get("reg:5000")
    assert info.value.exit_code == 3
    sentence = info.value.sentence()
    assert problem in sentence
    assert PLACE in sentence
    assert "echo reg:5000 | docker-credential-test get" in sentence
    chain: BaseException | None = info.value
    while chain is not None:
        assert "s3cret" not in f"{chain} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "sleep 60 & exit 0",  # gone itself, but its child holds the pipe
        "exec >&-; sleep 60",  # closes its output and goes on
        "trap '' TERM; while :; do sleep 1; done",
    ],
)
def test_one_that_hangs_is_stopped_with_its_children(tmp_path: Path, script: str) -> None:
    subject = helper(tmp_path, f"echo $$ > {tmp_path}/group; {script}", seconds=0.3)
    with pytest.raises(AccessError, match=r"did not answer within 0\.3 seconds and was stopped"):
        subject.get("reg")
    group = int((tmp_path / "group").read_text())
    assert _ends(group)


def _ends(group: int) -> bool:
    """Is no process of the group left, once those killed have been reaped?"""
    for _ in range(500):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        if all(state == "Z" for state in _states(group)):
            return True
        time.sleep(0.01)
    return False


def _states(group: int) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, process_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if process_group == str(group):
            found.append(state)
    return found


def test_one_that_does_not_read_its_request(tmp_path: Path) -> None:
    subject = helper(tmp_path, 'exec <&-; echo \'{"Username":"bob","Secret":"without asking"}\'')
    assert subject.get("reg") == Credential("bob", "without asking")


def test_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as info:
        Helper("absent", PLACE, helper_environ(tmp_path)).get("reg")
    assert str(info.value) == f"the credential helper docker-credential-absent ({PLACE}) is not on PATH"
    assert info.value.exit_code == 2


def test_a_program_that_can_not_be_started(tmp_path: Path) -> None:
    write_helper(tmp_path, "broken", "").write_text("#!/no/such/interpreter\n")
    with pytest.raises(ConfigError, match=r"starting the credential helper .*docker-credential-broken"):
        Helper("broken", PLACE, helper_environ(tmp_path)).get("reg")


@pytest.mark.parametrize("name", ["../evil", "a b", "", "-x"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a credential helper"):
        helper(tmp_path, "echo {}", name=name).get("reg")


def test_store_hands_the_secret_over_on_stdin(tmp_path: Path) -> None:
    subject = helper(tmp_path, f"echo $@ > {tmp_path}/arguments; cat > {tmp_path}/request")
    subject.store("reg:5000", "bob", "on stdin only")
    assert (tmp_path / "arguments").read_text() == "store\n"
    assert (
        tmp_path / "request"
    ).read_text() == '{"ServerURL": "reg:5000", "Username": "bob", "Secret": "on stdin only"}'


def test_store_fails(tmp_path: Path) -> None:
    with pytest.raises(AccessError) as info:
        helper(tmp_path, "cat; exit 1").store("reg:5000", "bob", "echoed back")
    assert "to store the credential of reg:5000: it failed with exit status 1" in str(info.value)
    assert "echoed back" not in info.value.sentence()


def test_erase(tmp_path: Path) -> None:
    helper(tmp_path, f"cat > {tmp_path}/request").erase("reg:5000")
    assert (tmp_path / "request").read_text() == "reg:5000"
    helper(tmp_path, 'echo "credentials not found in native keychain"; exit 1').erase("reg:5000")
    with pytest.raises(CiRegistryError, match="to erase the credential"):
        helper(tmp_path, "exit 1").erase("reg:5000")


def test_a_helper_is_told_that_we_are_asking(tmp_path: Path) -> None:
    helper(tmp_path, f'env > {tmp_path}/environ; echo \'{{"Username":"","Secret":""}}\'').get("reg")
    seen = dict(line.split("=", 1) for line in (tmp_path / "environ").read_text().splitlines() if "=" in line)
    assert inside_helper(seen)
    assert not inside_helper(helper_environ(tmp_path))


@pytest.mark.parametrize(
    "credential, pair",
    [
        (Credential("bob", "hunter2!"), ("bob", "hunter2!")),
        (Credential("bob", "", identity_token="refresh"), ("<token>", "refresh")),
        (Credential("", "", registry_token="bearer-1"), None),
        (Credential("", ""), None),
    ],
)
def test_what_the_protocol_can_carry(credential: Credential, pair: tuple[str, str] | None) -> None:
    assert protocol_pair(credential) == pair
