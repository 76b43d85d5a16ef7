"""Digests, platforms and descriptors."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_registry.errors import InputFileError, ReferenceSyntaxError
from ci_registry.model.descriptor import Descriptor, Digest, Platform, digest_of, new_hash

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_digest_of_bytes(algorithm: str) -> None:
    digest = digest_of(b"hello", algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, b'hello').hexdigest()}"
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, b"hello").hexdigest())
    assert digest.short == digest.hex[:12]
    counted = new_hash(algorithm)
    counted.update(b"hello")
    assert counted.hexdigest() == digest.hex


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f" sha256:{HEX}",
        f"sha256:{HEX} ",
        f"sha256:{HEX}\n",
        f"sha256:{HEX[:-1]}g",
        f"sha512:{HEX}",
        f"sha384:{HEX}",
        f"sha1:{HEX[:40]}",
        f"md5:{HEX[:32]}",
        "sha256:../../../../etc/passwd",
        f"sha256:{'٣' * 64}",
    ],
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(ReferenceSyntaxError, match="is not a digest") as caught:
        Digest(text)
    assert "64 lower-case hexadecimal digits" in caught.value.hint


@given(st.text() | st.from_regex(r"(sha256|sha512|sha384):[a-f0-9]{64,128}"))
def test_a_digest_is_safe_as_a_file_name(text: str) -> None:
    try:
        digest = Digest(text)
    except ReferenceSyntaxError:
        return
    assert set(digest.hex) <= set("0123456789abcdef")
    assert digest.algorithm in ("sha256", "sha384", "sha512")
    assert len(digest.hex) == 2 * new_hash(digest.algorithm).digest_size


# -- platforms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, platform",
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("windows/amd64:10.0.17763", Platform("windows", "amd64", "", "10.0.17763")),
    ],
)
def test_a_platform_as_people_write_it(text: str, platform: Platform) -> None:
    assert Platform.parse(text) == platform
    assert str(platform) == text.partition(":")[0]


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux//v8", "linux/arm/v7/x", ":10.0"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ReferenceSyntaxError, match=f"'{text}' is not a platform") as caught:
        Platform.parse(text)
    assert "linux/amd64" in caught.value.hint


@pytest.mark.parametrize(
    "has, wanted, fits",
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v7", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm", "linux/arm/v7", False),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("windows/amd64:10.0.17763.5", "windows/amd64", True),
        ("windows/amd64:10.0.17763.5", "windows/amd64:10.0.17763", True),
        ("windows/amd64:10.0.20348", "windows/amd64:10.0.17763", False),
        ("windows/amd64", "windows/amd64:10.0.17763", False),
    ],
)
def test_whether_an_image_answers_a_wish(has: str, wanted: str, fits: bool) -> None:
    assert Platform.parse(has).satisfies(Platform.parse(wanted)) is fits


@pytest.mark.parametrize(
    "document, platform",
    [
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, Platform("linux", "arm", "v7")),
        ({"os": "windows", "architecture": "amd64", "os.version": "10.0"}, Platform("windows", "amd64", "", "10.0")),
        ({}, Platform("", "")),
        ({"os": None, "architecture": None, "variant": None, "os.version": None}, Platform("", "")),
    ],
)
def test_a_platform_in_an_index(document: dict[str, Any], platform: Platform) -> None:
    assert Platform.from_json(document) == platform


# -- descriptors -------------------------------------------------------------------------------------------------------


def test_a_descriptor_with_everything_is_written_as_it_was_read() -> None:
    document = {
        "mediaType": "application/x",
        "digest": DIGEST,
        "size": 7,
        "platform": {"architecture": "arm", "os": "linux", "os.version": "1", "variant": "v7"},
        "artifactType": "application/y",
        "annotations": {"a": "b"},
        "urls": ["https://example.org/x"],
    }
    found = Descriptor.from_json(document)
    assert found.to_json() == document
    assert list(found.to_json()) == list(document)
    assert Descriptor.from_json({"digest": DIGEST, "size": 0}).to_json() == {
        "mediaType": "",
        "digest": DIGEST,
        "size": 0,
    }


def test_descriptors_are_equal_by_what_they_point_at() -> None:
    plain = Descriptor("application/x", Digest(DIGEST), 7)
    fancy = Descriptor("application/x", Digest(DIGEST), 7, Platform("linux", "arm"), {"a": "b"}, "y", ("u",))
    assert plain == fancy
    assert len({plain, fancy}) == 1
    assert plain != Descriptor("application/x", Digest(DIGEST), 8)


@pytest.mark.parametrize(
    "document, words",
    [
        (None, "that is not an object"),
        ([], "that is not an object"),
        ("sha256", "that is not an object"),
        ({}, "without a valid size"),
        ({"digest": DIGEST}, "without a valid size"),
        ({"digest": DIGEST, "size": -1}, "without a valid size"),
        ({"digest": DIGEST, "size": "7"}, "without a valid size"),
        ({"digest": DIGEST, "size": 7.0}, "without a valid size"),
        ({"digest": DIGEST, "size": True}, "without a valid size"),
        ({"digest": DIGEST, "size": None}, "without a valid size"),
        ({"digest": DIGEST, "size": 1 << 63}, "without a valid size"),
        ({"size": 7}, "whose digest is wrong"),
        ({"size": 7, "digest": None}, "whose digest is wrong"),
        ({"size": 7, "digest": DIGEST + "\n"}, "whose digest is wrong"),
        ({"size": 7, "digest": DIGEST, "annotations": ["a"]}, "whose annotations are not an object"),
        ({"size": 7, "digest": DIGEST, "annotations": "a"}, "whose annotations are not an object"),
        ({"size": 7, "digest": DIGEST, "urls": 7}, "whose urls are not a list"),
        ({"size": 7, "digest": DIGEST, "urls": "https://example.org"}, "whose urls are not a list"),
    ],
)
def test_what_is_no_descriptor(document: object, words: str) -> None:
    with pytest.raises(InputFileError, match=f"the index of app:1 holds a descriptor {words}"):
        Descriptor.from_json(document, "the index of app:1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"digest": st.just(DIGEST) | JSON, "size": st.integers(0, 10) | JSON},
        optional=dict.fromkeys(("mediaType", "platform", "annotations", "artifactType", "urls"), JSON),
    )
)
def test_any_object_is_a_descriptor_or_refused(document: dict[str, Any]) -> None:
    try:
        found = Descriptor.from_json(document)
    except InputFileError:
        return
    assert Descriptor.from_json(found.to_json()) == found
