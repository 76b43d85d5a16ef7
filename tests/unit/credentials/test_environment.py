"""Credentials from the configuration of a target and from its environment variables."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ci_registry.credentials.chain import Chain, Credential, Lookup, NoAnswer
from ci_registry.credentials.environment import (
    EnvironmentProvider,
    Explicit,
    ExplicitProvider,
    variable_name,
)
from ci_registry.errors import ConfigError
from ci_registry.redaction import redact

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ECR_TOKEN = base64.b64encode(b"AWS:ecr-password").decode()


def from_environment(host: str = "reg:5000", target: str | None = "dev", **variables: str) -> Credential | None:
    environ = {f"CI_REGISTRY_DEV_{part}": value for part, value in variables.items()}
    return EnvironmentProvider(environ).find(Lookup(host, target=target))


def test_user_and_password() -> None:
    found = from_environment(USERNAME="bob", PASSWORD="hunter2!\n")
    assert found == Credential("bob", "hunter2!")
    assert found
    assert found.source == "environment variable CI_REGISTRY_DEV_PASSWORD"


def test_the_name_of_the_variable() -> None:
    assert variable_name("my-dev-2", "PASSWORD_FILE") == "CI_REGISTRY_MY_DEV_2_PASSWORD_FILE"


def test_password_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from a file \r\n")
    found = from_environment(USERNAME="bob", PASSWORD_FILE=str(file))
    assert found == Credential("bob", "from a file ")
    assert found
    assert found.source == f"file {file}, environment variable CI_REGISTRY_DEV_PASSWORD_FILE"


def test_a_token_alone_is_sent_as_it_is() -> None:
    assert from_environment(TOKEN=" eyJh.e30.sig \n") == Credential("", "", registry_token="eyJh.e30.sig")


def test_a_token_beside_a_user_is_the_password() -> None:
    assert from_environment(USERNAME="bob", TOKEN="dckr_pat_1") == Credential("bob", "dckr_pat_1")


def test_the_user_token_makes_an_identity_token() -> None:
    assert from_environment(USERNAME="<token>", TOKEN="refresh-me") == Credential("", "", identity_token="refresh-me")


@pytest.mark.parametrize("part", ["PASSWORD", "TOKEN"])
@pytest.mark.parametrize("username", [{}, {"USERNAME": "AWS"}])
def test_ecr_takes_an_authorisation_token(part: str, username: dict[str, str]) -> None:
    assert from_environment(ECR, **{part: ECR_TOKEN}, **username) == Credential("AWS", "ecr-password")


@pytest.mark.parametrize("part", ["PASSWORD", "TOKEN"])
def test_ecr_takes_the_bare_password_as_well(part: str) -> None:
    assert from_environment(ECR, **{part: "not/base64?"}) == Credential("AWS", "not/base64?")


def test_elsewhere_an_ecr_token_is_just_a_password() -> None:
    assert from_environment(USERNAME="bob", PASSWORD=ECR_TOKEN) == Credential("bob", ECR_TOKEN)


@pytest.mark.parametrize(
    "variables, reason",
    [
        ({}, "CI_REGISTRY_DEV_PASSWORD, CI_REGISTRY_DEV_PASSWORD_FILE and CI_REGISTRY_DEV_TOKEN are not set"),
        ({"PASSWORD": ""}, "CI_REGISTRY_DEV_PASSWORD is set but empty"),
        ({"USERNAME": "", "PASSWORD": ""}, "CI_REGISTRY_DEV_USERNAME and CI_REGISTRY_DEV_PASSWORD are set but empty"),
    ],
)
def test_nothing_set(variables: dict[str, str], reason: str) -> None:
    with pytest.raises(NoAnswer) as info:
        from_environment(**variables)
    assert info.value.reason == reason


def test_a_host_that_is_no_target() -> None:
    with pytest.raises(NoAnswer, match="not a configured target"):
        from_environment(target=None, USERNAME="bob", PASSWORD="hunter2!")


@pytest.mark.parametrize(
    "variables, named",
    [
        ({"USERNAME": "bob"}, "CI_REGISTRY_DEV_USERNAME is set, but neither CI_REGISTRY_DEV_PASSWORD"),
        ({"USERNAME": "bob", "PASSWORD": ""}, "CI_REGISTRY_DEV_USERNAME is set, but neither CI_REGISTRY_DEV_PASSWORD"),
        ({"PASSWORD": "s3cret-value"}, "CI_REGISTRY_DEV_PASSWORD is set for reg:5000, but no user name is"),
        (
            {"USERNAME": "bob", "PASSWORD": "s3cret-value", "TOKEN": "s3cret-value"},
            "CI_REGISTRY_DEV_PASSWORD and CI_REGISTRY_DEV_TOKEN are both set",
        ),
        ({"USERNAME": "bob:x", "PASSWORD": "s3cret-value"}, "that goes with CI_REGISTRY_DEV_PASSWORD has a ':'"),
    ],
)
def test_half_a_credential_is_an_error(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as info:
        from_environment(**variables)
    assert info.value.exit_code == 2
    assert info.value.hint
    assert named in str(info.value)
    assert "s3cret-value" not in info.value.sentence()


@pytest.mark.parametrize(
    "content, problem",
    [
        (None, "failed: No such file or directory"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"x" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_a_bad_password_file_is_an_error(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as info:
        from_environment(USERNAME="bob", PASSWORD_FILE=str(file))
    assert info.value.exit_code == 2
    assert f"{file} named by CI_REGISTRY_DEV_PASSWORD_FILE" in str(info.value)
    assert problem in str(info.value)


def test_a_folder_is_no_password_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        from_environment(USERNAME="bob", PASSWORD_FILE=str(tmp_path))


def test_explicit_password() -> None:
    provider = ExplicitProvider({"dev": Explicit("bob", "hunter2!")}.get)
    found = provider.find(Lookup("reg", target="dev"))
    assert found == Credential("bob", "hunter2!")
    assert found
    assert found.source == "targets.dev.password in the configuration"


def test_explicit_password_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("in a file\n")
    provider = ExplicitProvider({"dev": Explicit("bob", password_file=file)}.get)
    found = provider.find(Lookup("reg", target="dev"))
    assert found == Credential("bob", "in a file")
    assert found
    assert str(file) in found.source


@pytest.mark.parametrize(
    "explicit, problem",
    [
        (Explicit("bob", "hunter2!", Path("/x")), "targets.dev has both password and password_file"),
        (Explicit("bob", ""), "targets.dev.password is empty"),
        (Explicit(None, "hunter2!"), "targets.dev.password is set for reg, but no user name is"),
        (Explicit("bob", password_file=Path("/nowhere")), "/nowhere named by targets.dev.password_file"),
    ],
)
def test_explicit_errors(explicit: Explicit, problem: str) -> None:
    with pytest.raises(ConfigError) as info:
        ExplicitProvider({"dev": explicit}.get).find(Lookup("reg", target="dev"))
    assert problem in str(info.value)
    assert info.value.path.startswith("targets.dev.")
    assert "hunter2!" not in info.value.sentence()


@pytest.mark.parametrize("target, reason", [("dev", "targets.dev has no password"), (None, "not a configured target")])
def test_a_configured_user_alone_is_no_answer(target: str | None, reason: str) -> None:
    with pytest.raises(NoAnswer, match=reason):
        ExplicitProvider({"dev": Explicit("bob")}.get).find(Lookup("reg", target=target))


def test_a_configured_user_goes_with_the_password_of_the_environment() -> None:
    explicit = {"dev": Explicit("bob")}.get
    environ = {"CI_REGISTRY_DEV_PASSWORD": "hunter2!"}
    chain = Chain([ExplicitProvider(explicit), EnvironmentProvider(environ, explicit)])
    assert chain.find(Lookup("reg", target="dev")) == Credential("bob", "hunter2!")


def test_the_configuration_of_other_targets_is_not_touched() -> None:
    asked = []

    def explicit(target: str) -> None:
        asked.append(target)

    Chain([ExplicitProvider(explicit)]).find(Lookup("reg", target="dev"))
    assert asked == ["dev"]


def test_an_ecr_token_is_masked_in_both_its_forms() -> None:
    token = base64.b64encode(b"AWS:another-ecr-password").decode()
    from_environment(ECR, TOKEN=token)
    assert redact(f"{token} another-ecr-password") == "*** ***"
