"""What is wrong in a configuration is named with file, line, path, reason and cure; exit code 2."""

from __future__ import annotations

import contextlib
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_registry.errors import ConfigError
from ci_registry.ops.config import Config, load, problems

REGISTRY = {"kind": "registry", "url": "https://r"}


def refusal(data: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Config(data, environ={})
    assert caught.value.exit_code == 2
    return caught.value


def target_refusal(**keys: Any) -> ConfigError:
    return refusal({"targets": {"t": {**REGISTRY, **keys}}})


def text_refusal(tmp_path: Path, text: str | bytes) -> ConfigError:
    file = tmp_path / "c.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, {}, tmp_path)
    assert caught.value.message.startswith((f"{file}", f"the configuration {file}"))
    return caught.value


# Reading


@pytest.mark.parametrize(
    "text, where",
    [
        ("targets:\n  dev: {kind: registry\n", "line 3, column 1: not valid YAML"),
        ("targets:\n  dev: a: b\n", "line 2, column 9: not valid YAML: mapping values are not allowed"),
        ("targets:\n\tdev: 1\n", "line 2, column 1: not valid YAML"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: not valid YAML: expected a single document"),
        ("targets: *hunter2\n", "line 1, column 10: not valid YAML: found undefined alias"),
        ("targets: !hunter2 {}\n", "line 1, column 10: not valid YAML: could not determine a constructor"),
        ("targets: {}\nx: a\x01b\n", "line 2: a control character stands in the text"),
        (b"targets:\n  \xff: 1\n", "line 2: the text is not UTF-8 (byte 0xff)"),
        ("targets:\n  a: {}\n  b: {}\n  a: {}\n", "line 4: targets.a is already set in line 2"),
        ("targets: {}\njenkins: {}\ntargets: {}\n", "line 3: targets is already set in line 1"),
        ("x: 2024-13-40\n", "a value is not what it looks like"),
        ("x: !!int hunter2\n", "a value is not what it looks like"),
        ("x: !!bool hunter2\n", "a value is not what it looks like"),
        ("x: !!timestamp hunter2\n", "a value is not what it looks like"),
        ("{[a]: b}\n", "line 1, column 2: not valid YAML: while constructing a mapping, found unhashable key"),
        ("- a\n", "the configuration must be a mapping of keys to values"),
        ("just text\n", "the configuration must be a mapping of keys to values"),
        (
            "targets:\n  a: &a\n    kind: registry\n    url: *a\n",
            "line 4: targets.a.url must be a text, but is a mapping",
        ),
        ("targets: &t\n  a: *t\n", "line 2: targets.a.kind is missing"),
    ],
)
def test_unreadable_text(tmp_path: Path, text: str | bytes, where: str) -> None:
    error = text_refusal(tmp_path, text)
    assert where in error.message
    assert "hunter2" not in error.sentence()


@pytest.mark.parametrize("text", ["t: {a: ${X}}\n", "t:\n  u: {a: 1,\n    b: ${X}}\n", "t: [${X}]\n"])
def test_a_variable_in_braces_needs_quotes(tmp_path: Path, text: str) -> None:
    error = text_refusal(tmp_path, text)
    assert error.hint == "put ${NAME} in quotes where it stands inside { } or [ ]"


def test_lines_are_named_also_inside_merged_and_flow_mappings(tmp_path: Path) -> None:
    error = text_refusal(tmp_path, "targets:\n  a: &a {kind: registry,\n    url: https://r, urll: x}\n")
    assert error.message.endswith("c.yaml, line 3: targets.a.urll is not a known key of kind registry")
    error = text_refusal(
        tmp_path, "x: &x {urll: 1}\ntargets:\n  a:\n    <<: *x\n    kind: registry\n    url: https://r\n"
    )
    assert error.message.endswith("c.yaml, line 1: x is not a known key")


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path, {}, tmp_path)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.touch()
    os.truncate(file, 1 << 40)
    with pytest.raises(ConfigError, match="is larger than 4 MiB"):
        load(file, {}, tmp_path)


# Keys, kinds, types


@pytest.mark.parametrize(
    "data, message, hint",
    [
        ({"target": {}}, "target is not a known key", "did you mean `targets`?"),
        ({"volumes": {}}, "volumes is not a known key", "known keys: targets, promotions, jenkins"),
        ({"targets": []}, "targets must be a mapping of keys to values", "write `key: value` lines"),
        ({"targets": {"t": "https://r"}}, "targets.t must be a mapping of keys to values", "begin it with `kind:`"),
        ({"targets": {"t": None}}, "targets.t must be a mapping of keys to values", "begin it with `kind:`"),
        ({"targets": {"t": {"url": "https://r"}}}, "targets.t.kind is missing", "it is one of registry, dockerhub"),
        (
            {"targets": {"t": {"kind": "registri"}}},
            "targets.t.kind is not a known kind: 'registri'",
            "did you mean `regis",
        ),
        (
            {"targets": {"t": {"kind": "zzz"}}},
            "targets.t.kind is not a known kind: 'zzz'",
            "it is one of registry, docker",
        ),
        (
            {"targets": {"t": {"kind": ["ecr"]}}},
            "targets.t.kind is not a known kind: '['ecr']'",
            "did you mean `ecr`? it is one of",
        ),
        ({"targets": {"t": {"kind": "registry"}}}, "targets.t.url is missing", "add `url:`: Address such as https://"),
        ({"targets": {"t": {"kind": "oci-layout"}}}, "targets.t.path is missing", "add `path:`: Folder to keep images"),
        ({"targets": {"t": {"kind": "registry", "url": None}}}, "targets.t.url is missing", "add `url:`"),
        ({"promotions": {"p": {"from": "local"}}}, "promotions.p.to is missing", "add `to:`: Targets to promote to."),
        ({"promotions": {"p": []}}, "promotions.p must be a mapping of keys to values, but is a list", ""),
        ({"promotions": {1: {}}}, "promotions.1 is not a name for a promotion", "use letters"),
        ({"jenkins": {"username": "ci"}}, "jenkins.url is missing", "add `url:`"),
        ({"jenkins": {}}, "jenkins.url is missing", "add `url:`"),
        ({"jenkins": "https://j"}, "jenkins must be a mapping of keys to values", ""),
        ({"jenkins": {"url": "https://j", "tokn": "x"}}, "jenkins.tokn is not a known key", "did you mean `token`?"),
    ],
)
def test_wrong_shape(data: Any, message: str, hint: str) -> None:
    error = refusal(data)
    assert error.message == message
    assert error.hint.startswith(hint)


@pytest.mark.parametrize(
    "key, hint",
    [
        ("urll", "did you mean `url`?"),
        ("Namespace", "did you mean `namespace`?"),
        ("max_connection", "did you mean `max_connections`?"),
        ("region", "that key belongs to kind ecr"),
        ("api", "that key belongs to kind dockerhub and nexus"),
        ("name", "did you mean `username`?"),
        ("zzz", "known keys: kind, namespace, repository"),
    ],
)
def test_unknown_keys_of_a_target(key: str, hint: str) -> None:
    error = target_refusal(**{key: "hunter2"})
    assert error.message == f"targets.t.{key} is not a known key of kind registry"
    assert error.path == f"targets.t.{key}"
    assert error.hint.startswith(hint)
    assert "hunter2" not in error.sentence()


def test_unknown_keys_inside_a_nested_mapping() -> None:
    error = refusal({"targets": {"t": {"kind": "ecr", "create_repositories": {"enable": True}}}})
    assert error.sentence() == ("targets.t.create_repositories.enable is not a known key; did you mean `enabled`?")
    error = refusal({"promotions": {"p": {"from": "local", "to": ["ecr"], "policies": {"max_age": 3}}}})
    assert error.path == "promotions.p.policies.max_age"
    assert error.hint == "did you mean `max_age_days`?"


@pytest.mark.parametrize("name", ["Dev", "1dev", "dev_1", "dev.example", "", "dev:x", "dév", True, 3])
def test_names_that_no_target_may_have(name: object) -> None:
    assert refusal({"targets": {name: REGISTRY}}).message == f"targets.{name} is not a name for a target"


@pytest.mark.parametrize(
    "name", ["jenkins", "config", "output", "docker", "docker-daemon", "docker-archive", "oci", "oci-archive"]
)
def test_reserved_names(name: str) -> None:
    assert refusal({"targets": {name: REGISTRY}}).message == f"targets.{name} has a name that is reserved"


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("max_connections", "8", "must be a whole number, but is the text '8'"),
        ("max_connections", 0, "must be a whole number >= 1, but is the number 0"),
        ("max_connections", 2.5, "must be a whole number, but is the number 2.5"),
        ("requests_per_second", 0, "must be a number > 0, but is the number 0"),
        ("retry_seconds", -1, "must be a number >= 0, but is the number -1"),
        ("retry_seconds", float("inf"), "must be a number, but is infinite"),
        ("requests_per_second", float("nan"), "must be a number > 0, but is the number nan"),
        ("namespace", date(2024, 1, 1), "must be a text, but is a date"),
        ("retry_seconds", True, "must be a number, but is true"),
        ("insecure_skip_verify", "yes please", "must be true or false, but is the text 'yes please'"),
        ("insecure_skip_verify", ["${X}"], "must be true or false, but is a list"),
        ("immutable_tags", "v*", "must be true or false or a list, but is the text 'v*'"),
        ("protected_tags", "v*", "must be a list, but is the text 'v*'"),
        ("protected_tags", "${X}", "must be a list, but is what ${X} holds"),
        ("username", 5, "must be a text, but is the number 5"),
        ("username", True, "must be a text, but is true"),
        ("namespace", {"a": 1}, "must be a text, but is a mapping of keys to values"),
        ("namespace", "x" * 300 + "/", f"is not a valid beginning of a repository name: '{'x' * 300}/'"),
        ("username", ["x"], "must be a text, but is a list"),
    ],
)
def test_wrong_types(key: str, value: object, message: str) -> None:
    assert target_refusal(**{key: value}).message == f"targets.t.{key} {message}"


def test_wrong_types_deeper_down() -> None:
    error = target_refusal(protected_tags=["a", 3])
    assert error.message == "targets.t.protected_tags[1] must be a text, but is the number 3"
    assert error.hint == "put the value in quotes"
    ecr = {"kind": "ecr", "create_repositories": {"enabled": True, "tags": {"a": "x", "cost": 12}}}
    assert refusal({"targets": {"t": ecr}}).message == (
        "targets.t.create_repositories.tags.cost must be a text, but is the number 12"
    )
    ecr["create_repositories"]["tags"] = {7: "x"}
    assert refusal({"targets": {"t": ecr}}).message == "targets.t.create_repositories.tags has a key that is not a text"
    ecr["create_repositories"] = True
    assert refusal({"targets": {"t": ecr}}).message == (
        "targets.t.create_repositories must be a mapping of keys to values, but is true"
    )


def test_an_account_without_quotes_says_so(tmp_path: Path) -> None:
    error = text_refusal(tmp_path, "targets:\n  e:\n    kind: ecr\n    account: 123456789012\n")
    assert error.sentence().endswith(
        "line 4: targets.e.account must be a text, but is the number 123456789012; put the value in quotes."
    )


# Secrets


@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "${A}hunter2",
        "$${hunter2}",
        "${A}${B}",
        " ${A}",
        "$hunter2",
        "",
        1702,
        17.02,
        True,
        b"hunter2",
        date(1702, 1, 1),
        {"hunter2"},
        "${hunter2",
    ],
)
def test_literal_secrets_are_refused_and_never_echoed(value: object) -> None:
    error = target_refusal(password=value)
    assert error.message == "targets.t.password is a literal secret, which must not stand in the file"
    assert error.hint == ("write `password: ${T_PASSWORD}` and set that variable, or name a file with `password_file:`")
    error = refusal({"jenkins": {"url": "https://j", "token": value}})
    assert error.message == "jenkins.token is a literal secret, which must not stand in the file"
    assert "`token: ${JENKINS_TOKEN}`" in error.hint


@pytest.mark.parametrize("value", [["hunter2"], {"hunter2": "hunter2"}])
def test_secrets_of_a_wrong_type_are_not_echoed(value: object) -> None:
    error = target_refusal(password=value)
    assert error.message.startswith("targets.t.password must be a text, but is a ")
    assert "hunter2" not in error.sentence()


@pytest.mark.parametrize(
    "key, value",
    [
        ("url", "https://ci:hunter2@r"),
        ("url", "https://ci:hun/ter2@r"),
        ("url", "ci:hunter2@r:5000"),
        ("url", "https://ci:hunter2@${HOST}"),
        ("url", "https://${U}:${P}@r"),
        ("mirror", "https://ci:hunter2@cache"),
        ("proxy", "http://ci:hunter2@squid:3128"),
        ("proxy", "http://ci:hunter2@${SQUID}"),
        ("proxy", "http://${U}:hunter2@squid:3128"),
        ("proxy", "http://ci:${P}hunter2@squid:3128"),
        ("proxy", "http://hunter2@squid:3128"),
    ],
)
def test_logins_in_addresses_are_refused_and_never_echoed(key: str, value: str) -> None:
    error = target_refusal(**{key: value})
    assert error.message == f"targets.t.{key} has a user or password in its address"
    assert "ter2" not in error.sentence()


def test_a_secret_without_a_space_after_its_colon(tmp_path: Path) -> None:
    error = text_refusal(tmp_path, "targets:\n  t: {kind: registry, url: 'https://r', password:hunter2}\n")
    assert "targets.t.password has no space after its colon" in error.message
    assert "hunter2" not in error.sentence()


def test_both_a_password_and_a_file() -> None:
    error = target_refusal(password="${P}", password_file="pw")
    assert error.sentence() == "targets.t.password is set beside password_file; keep one of the two."
    error = refusal({"jenkins": {"url": "https://j", "token": "${P}", "token_file": "t"}})
    assert error.sentence() == "jenkins.token is set beside token_file; keep one of the two."


@pytest.mark.parametrize("value", ["${}", "${A-B}", "${A:-x}", "${1}", "a${", "${A} ${B"])
def test_what_looks_like_a_variable_but_is_none(value: str) -> None:
    error = target_refusal(username=value)
    assert error.message == "targets.t.username holds a ${ that begins no variable"
    assert "write $${ for a plain ${" in error.hint


# Values


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("url", "localhost:5000", "has no http:// or https:// in front: 'localhost:5000'"),
        ("url", "ftp://r", "has the scheme ftp://: 'ftp://r'"),
        ("url", "https://", "has a host or port that is not valid: 'https://'"),
        ("url", "https://:5000", "has a host or port that is not valid: 'https://:5000'"),
        ("url", "https://r:", "has a host or port that is not valid: 'https://r:'"),
        ("url", "https://r:0", "has a host or port that is not valid: 'https://r:0'"),
        ("url", "https://r:65536", "has a host or port that is not valid: 'https://r:65536'"),
        ("url", "https://r:http", "has a host or port that is not valid: 'https://r:http'"),
        ("url", "https://[::1", "has a host or port that is not valid: 'https://[::1'"),
        ("url", "https://r r", "has a host or port that is not valid: 'https://r r'"),
        ("url", "https://r/v2/", "has something after the host: 'https://r/v2/'"),
        ("url", "https://r?x=1", "has something after the host: 'https://r?x=1'"),
        ("url", "", "has no http:// or https:// in front"),
        ("mirror", "cache", "has no http:// or https:// in front: 'cache'"),
        ("proxy", "squid:3128", "is not an http:// address"),
        ("proxy", "https://squid:3128", "is not an http:// address"),
        ("proxy", "http://squid:x", "has a host or port that is not valid"),
        ("connect_to", "http://r:5000", "is not HOST:PORT: 'http://r:5000'"),
        ("connect_to", "r", "is not HOST:PORT: 'r'"),
        ("connect_to", "r:99999", "is not HOST:PORT: 'r:99999'"),
        ("connect_to", "r:٣", "is not HOST:PORT: 'r:٣'"),
        ("fingerprint", "ab:cd", "is not the sha256 of a certificate (64 hexadecimal digits): 'ab:cd'"),
        ("namespace", "Team", "is not a valid beginning of a repository name: 'Team'"),
        ("repository", "{tag}", "has the unknown field {tag}: '{tag}'"),
        ("repository", "{name!r}", "has the unknown field {name}: '{name!r}'"),
        ("repository", "{name", "has a { or } without its partner: '{name'"),
        ("repository", "{}", "has the unknown field {}: '{}'"),
        ("repository", "A/{name}", "does not make a valid repository name: 'A/{name}'"),
        ("repository", "{namespace}/{name}", "uses {namespace}, and none is set"),
        ("username", " ", "is empty: ' '"),
        ("ca", "", "is empty"),
        ("protected_tags", [""], "is empty"),
    ],
)
def test_wrong_values(key: str, value: object, message: str) -> None:
    error = target_refusal(**{key: value})
    assert error.message.replace("[0]", "") == f"targets.t.{key} {message}"
    assert error.hint


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("account", "1234", "is not an AWS account number (twelve digits): '1234'"),
        ("region", "Ireland", "is not an AWS region: 'Ireland'"),
        ("role_arn", "ci", "is not the ARN of a role: 'ci'"),
        ("endpoint_url", "vpce", "has no http:// or https:// in front: 'vpce'"),
    ],
)
def test_wrong_values_of_ecr(key: str, value: str, message: str) -> None:
    error = refusal({"targets": {"t": {"kind": "ecr", key: value}}})
    assert error.message == f"targets.t.{key} {message}"


@pytest.mark.parametrize("key", ["ca", "client_cert", "fingerprint"])
def test_tls_settings_beside_plain_http(key: str) -> None:
    error = refusal({"targets": {"t": {"kind": "registry", "url": "http://r:5000", key: "ab" * 32}}})
    assert error.message == f"targets.t.{key} is about TLS, but the url says plain HTTP"


def test_a_key_without_its_certificate() -> None:
    assert target_refusal(client_key="k.pem").message == "targets.t.client_key is set without client_cert"


# Promotions


@pytest.mark.parametrize(
    "keys, path, message",
    [
        ({"from": "loca"}, "from", "names the target 'loca', which is not configured; did you mean 'local'?"),
        ({"to": ["zzz"]}, "to[0]", "names the target 'zzz', which is not configured; known: dockerhub, ecr, local."),
        ({"to": "ecr"}, "to", "must be a list, but is the text 'ecr'; write it as a list with one element: [...]."),
        ({"to": []}, "to", "must be a list that is not empty, but is a list."),
        ({"to": ["ecr", "ecr"]}, "to[1]", "names the target 'ecr' again; name each target once."),
        ({"to": ["local"]}, "to[0]", "is the source 'local' itself; name another target, or set `rename:`."),
        ({"atomic": "all"}, "atomic", "must be image or plan, but is the text 'all'."),
        ({"atomic": 1}, "atomic", "must be image or plan, but is the number 1."),
        ({"rename": "{tag}-{date}"}, "rename", "has the unknown field {date}: '{tag}-{date}'; use {tag}."),
        ({"rename": "-{tag}"}, "rename", "does not make a valid tag: '-{tag}'; use at most 128 letters"),
        ({"repositories": {}}, "repositories", "has none of them; give exactly one of glob, regex."),
        ({"repositories": {"glob": "a", "regex": "b"}}, "repositories", "has glob and regex; give exactly one of"),
        (
            {"repositories": {"regex": "("}},
            "repositories.regex",
            "is not a regular expression (missing ), unterminated",
        ),
        ({"repositories": "team/*"}, "repositories", "must be a mapping of keys to values, but is the text 'team/*'."),
        ({"tags": {"newest": 3}}, "tags", "has none of them; give exactly one of semver, glob, regex."),
        ({"tags": {"glob": "v*", "newest": 3}}, "tags.newest", "needs semver, which says what is newer; use `semver:`"),
        ({"tags": {"semver": "new"}}, "tags.semver", "is not a range of versions: 'new'; write it like '>=1.0 <2'"),
        ({"tags": {"semver": ">=1", "newest": 0}}, "tags.newest", "must be a whole number >= 1, but is the number 0."),
        ({"policies": {"require_platforms": ["linux"]}}, "policies.require_platforms[0]", "is not a platform: 'linux'"),
        ({"policies": {"max_age_days": 0}}, "policies.max_age_days", "must be a number > 0, but is the number 0."),
        (
            {"policies": {"require_promoted_from": "p"}},
            "policies.require_promoted_from",
            "names the other promotion 'p', which is not configured; known: none.",
        ),
    ],
)
def test_wrong_promotions(keys: dict[str, Any], path: str, message: str) -> None:
    error = refusal({"promotions": {"p": {"from": "local", "to": ["ecr"], **keys}}})
    assert error.path == f"promotions.p.{path}"
    assert error.sentence().startswith(f"promotions.p.{path} {message}")


@pytest.mark.parametrize(
    "text", [">=1.0", ">=1.0 <2", ">= 1.0, < 2", "^1.2", "~1.4.0", "1.x || 2.x", "*", "1.0.0-rc.1+b"]
)
def test_ranges_of_versions(text: str) -> None:
    promotion = {"from": "local", "to": ["ecr"], "tags": {"semver": text}}
    assert Config({"promotions": {"p": promotion}}, environ={}).promotion("p").tags.semver == text


def test_a_promotion_within_one_target_renames() -> None:
    promotion = {"from": "local", "to": ["local"], "rename": "{tag}-ok"}
    assert Config({"promotions": {"p": promotion}}, environ={}).promotion("p").targets == ("local",)


# All of them


def test_problems_names_everything(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "targets:\n  a: {kind: registry}\n  b: {kind: registry, url: x}\n  c: {kind: oci-layout, path: '${X}'}\n"
        "promotions:\n  p: {from: a, to: [nowhere]}\njenkins: {url: https://j, token: hunter2}\nmore: 1\n"
    )
    found = problems(file, {}, tmp_path)
    assert [error.path for error in found] == [
        "more",
        "targets.a.url",
        "targets.b.url",
        "promotions.p.to[0]",
        "jenkins.token",
    ]
    assert problems(tmp_path / "none.yaml", {}, tmp_path)[0].message.endswith("which --config names, does not exist")
    file.write_text("targets: {}\n")
    assert problems(file, {}, tmp_path) == []


_WORDS = """kind url path namespace repository username password password_file proxy ca fingerprint immutable_tags
account create_repositories enabled tags from to repositories semver glob regex newest policies token name zz"""
_TEXTS = ["registry", "ecr", "oci-layout", "nexus", "https://r:1", "${A}", "${", "$${", "local", "a/b", "{name}"]
_KEYS = st.sampled_from(_WORDS.split())
_LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.dates()),
    *(st.text(max_size=6), st.sampled_from(_TEXTS)),
)
_DATA = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.integers(0, 1), inner, max_size=6)
)


def some_of(words: str, **required: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=dict.fromkeys(words.split(), _DATA))


_KINDS = st.sampled_from(["registry", "dockerhub", "ecr", "nexus", "oci-layout"])
_TARGET = some_of("url path password proxy create_repositories immutable_tags ca", kind=_KINDS)
_PROMOTION = some_of("tags repositories policies atomic", **{"from": _DATA, "to": _DATA})
_FILE = st.fixed_dictionaries(
    {},
    optional={
        "targets": _DATA | st.dictionaries(st.sampled_from(["a", "b"]), _TARGET, max_size=2),
        "promotions": _DATA | st.dictionaries(st.just("p"), _PROMOTION, max_size=1),
        "jenkins": _DATA,
    },
)


@settings(max_examples=150, deadline=None)
@given(_FILE)
def test_anything_is_taken_or_refused_with_a_sentence(data: Any) -> None:
    try:
        config = Config(data, environ={"HOME": "/home/ci", "A": "1"})
    except ConfigError as error:
        assert error.sentence().startswith(error.path or "the configuration")  # noqa: PT017 - or it is taken
        return
    config.effective()
    for name in config.targets:
        with contextlib.suppress(ConfigError):
            assert config.target(name).name == name
