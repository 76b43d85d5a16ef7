"""The grammar of image references: what is understood, and what each refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_registry.errors import ReferenceSyntaxError
from ci_registry.model.reference import Reference, check_repository, check_tag, normal_host, split_name

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

# text -> host, repository, tag, digest
GOOD: dict[str, tuple[str, str, str | None, str | None]] = {
    "alpine": ("docker.io", "library/alpine", None, None),
    "alpine:3.18": ("docker.io", "library/alpine", "3.18", None),
    f"alpine@{DIGEST}": ("docker.io", "library/alpine", None, DIGEST),
    f"alpine:3.18@{DIGEST}": ("docker.io", "library/alpine", "3.18", DIGEST),
    "team/app": ("docker.io", "team/app", None, None),
    "docker.io/alpine": ("docker.io", "library/alpine", None, None),
    "docker.io/team/app:1": ("docker.io", "team/app", "1", None),
    "index.docker.io/team/app": ("docker.io", "team/app", None, None),
    "registry-1.docker.io/library/alpine": ("docker.io", "library/alpine", None, None),
    "Docker.IO/alpine": ("docker.io", "library/alpine", None, None),
    "localhost/app": ("localhost", "app", None, None),
    "localhost:5000/app:1.0": ("localhost:5000", "app", "1.0", None),
    "localhost:5000": ("docker.io", "library/localhost", "5000", None),
    "127.0.0.1:5000/a/b/c": ("127.0.0.1:5000", "a/b/c", None, None),
    "[::1]:5000/app": ("[::1]:5000", "app", None, None),
    "Registry.Example.ORG:443/app": ("registry.example.org:443", "app", None, None),
    "REGISTRY/app": ("REGISTRY", "app", None, None),
    "registry/app": ("docker.io", "registry/app", None, None),
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1": (
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "team/app",
        "1",
        None,
    ),
    "example.org/a.b/c_d/e__f/g-h/i---j": ("example.org", "a.b/c_d/e__f/g-h/i---j", None, None),
    "app:_": ("docker.io", "library/app", "_", None),
    f"app:{'x' * 128}": ("docker.io", "library/app", "x" * 128, None),
    "app:A.b-C_d": ("docker.io", "library/app", "A.b-C_d", None),
    f"example.org/{'a' * 255}": ("example.org", "a" * 255, None, None),
    f"app@sha512:{HEX}{HEX}": ("docker.io", "library/app", None, f"sha512:{HEX}{HEX}"),
}


@pytest.mark.parametrize("text", GOOD)
def test_what_is_understood(text: str) -> None:
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == GOOD[text]


@pytest.mark.parametrize("text", GOOD)
def test_a_reference_written_out_is_the_same(text: str) -> None:
    found = Reference.parse(text)
    assert Reference.parse(str(found)) == found


# text -> words of the message, words of the hint
BAD: dict[str, tuple[str, str]] = {
    "": ("'' has no image name", "variable"),
    ":1.0": ("':1.0' has no image name", "variable"),
    f"@{DIGEST}": ("has no image name", "variable"),
    "app:": ("the tag in 'app:' is empty", "variable"),
    "example.org/app:": ("the tag in 'example.org/app:' is empty", "variable"),
    "app:-1": ("'-1' in 'app:-1' is not a valid tag", "not starting with '.' or '-'"),
    "app:.1": ("'.1' in 'app:.1' is not a valid tag", "not starting"),
    "app:1.0 ": ("'1.0 ' in", "letters, digits"),
    "app:1.0\n": ("is not a valid tag", "letters, digits"),
    "app:1+2": ("'1+2' in 'app:1+2' is not a valid tag", "letters, digits"),
    "app:ü": ("is not a valid tag", "letters, digits"),
    f"app:{'x' * 129}": ("is not a valid tag", "at most 128"),
    "App": ("must be lowercase", "write it as 'library/app'"),
    "team/App:1": ("repository name 'team/App' in 'team/App:1' must be lowercase", "write it as 'team/app'"),
    "example.org/Team/App": ("repository name 'Team/App' in", "write it as 'team/app'"),
    "a//b": ("'a//b' is not a valid repository name", "lower-case letters"),
    "a/": ("is not a valid repository name", "lower-case letters"),
    "/a": ("is not a valid repository name", "lower-case letters"),
    "example.org/": ("is not a valid repository name", "lower-case letters"),
    "a..b/c": ("'a..b' in 'a..b/c' is not a registry host", ""),
    "team/a..b": ("is not a valid repository name", "lower-case letters"),
    "team/a___b": ("is not a valid repository name", "lower-case letters"),
    "team/-a": ("is not a valid repository name", "lower-case letters"),
    "team/a-": ("is not a valid repository name", "lower-case letters"),
    "team/a b": ("is not a valid repository name", "lower-case letters"),
    "team/../etc": ("is not a valid repository name", "lower-case letters"),
    "team/app\n": ("is not a valid repository name", "lower-case letters"),
    f"example.org/{'a' * 256}": ("is not a valid repository name", "lower-case letters"),
    HEX: ("is 64 hexadecimal digits", ""),
    f"{HEX}:1": ("is 64 hexadecimal digits", ""),
    "https://example.org/app": ("has a URL scheme in it", "leave out the scheme"),
    "docker://example.org/app": ("has a URL scheme in it", "leave out the scheme"),
    "app@": ("'' is not a digest", "sha256: followed by 64"),
    "app@latest": ("'latest' is not a digest", "sha256: followed by 64"),
    f"app@{DIGEST[:-1]}": ("is not a digest", "64 lower-case hexadecimal digits"),
    f"app@{DIGEST}0": ("is not a digest", "64 lower-case hexadecimal digits"),
    f"app@{DIGEST}\n": ("is not a digest", "64 lower-case hexadecimal digits"),
    f"app@{DIGEST.upper()}": ("is not a digest", "64 lower-case hexadecimal digits"),
    f"app@sha256:{HEX.upper()}": ("is not a digest", "64 lower-case hexadecimal digits"),
    f"app@md5:{HEX[:32]}": ("is not a digest", "sha256"),
    f"app@{DIGEST}@{DIGEST}": ("is not a digest", "sha256"),
    "my_host:5000/app": ("'my_host:5000' in 'my_host:5000/app' is not a registry host", ""),
    "-host.org/app": ("'-host.org' in", ""),
    "host.org:port/app": ("'host.org:port' in", ""),
    "user@host.org/app": ("is not a digest", "sha256"),
    "[::1/app": ("'[::1' in '[::1/app' is not a registry host", ""),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ReferenceSyntaxError) as caught:
        Reference.parse(text)
    message, hint = BAD[text]
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert bool(caught.value.hint) == bool(hint)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text, repository, tag", [("app", "app", None), ("team/app:1", "team/app", "1")])
def test_a_reference_without_a_host(text: str, repository: str, tag: str | None) -> None:
    found = Reference.parse_bare(text)
    assert (found.host, found.repository, found.tag) == ("", repository, tag)
    assert str(found) == text


def test_no_host_is_found_where_none_belongs() -> None:
    assert Reference.parse_bare("example.org/app") == Reference("", "example.org/app")
    with pytest.raises(ReferenceSyntaxError, match="not a valid repository name"):
        Reference.parse_bare("localhost:5000/app")


@pytest.mark.parametrize(
    "text, version", [("a", "latest"), ("a:1", "1"), (f"a@{DIGEST}", DIGEST), (f"a:1@{DIGEST}", DIGEST)]
)
def test_the_version_that_is_asked_for(text: str, version: str) -> None:
    assert Reference.parse(text).version == version


def test_another_tag_takes_the_digest_away() -> None:
    found = Reference.parse(f"example.org/a:1@{DIGEST}").with_tag("2")
    assert str(found) == "example.org/a:2"
    with pytest.raises(ReferenceSyntaxError, match="not a valid tag"):
        found.with_tag("-")


TAGS = st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
PATHS = st.from_regex(r"\A[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(?:/[a-z0-9]{1,5}){0,3}\Z")
HOSTS = st.from_regex(r"\A[a-z0-9]{1,8}\.[a-z]{2,4}(?::[0-9]{1,5})?\Z")
DIGESTS = st.from_regex(r"\Asha256:[a-f0-9]{64}\Z")


@given(HOSTS, PATHS, st.none() | TAGS, st.none() | DIGESTS)
def test_every_combination_of_good_parts_is_taken_apart_again(
    host: str, path: str, tag: str | None, digest: str | None
) -> None:
    text = f"{host}/{path}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == (host, path, tag, digest)
    assert str(found) == text


@given(st.text() | st.text(alphabet="aA1:/@.-_[] \n", max_size=30) | TAGS | PATHS)
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = Reference.parse(text)
    except ReferenceSyntaxError:
        return
    assert Reference.parse(str(found)) == found
    assert check_repository(found.repository) == found.repository
    assert found.tag is None or check_tag(found.tag) == found.tag
    assert normal_host(found.host) == found.host
    assert not set(str(found)) & set(" \n\t\\?#%")


@given(st.text())
def test_splitting_loses_nothing(text: str) -> None:
    try:
        name, tag, digest = split_name(text)
    except ReferenceSyntaxError:
        return
    assert name + (f":{tag}" if tag is not None else "") + (f"@{digest}" if digest is not None else "") == text
