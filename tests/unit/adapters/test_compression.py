"""Compression: the same bytes for the same layer, and damage as a sentence."""

from __future__ import annotations

import gzip
import io
import lzma
import random

import pytest
import zstandard

from ci_registry.adapters.compression import (
    HEAD_BYTES,
    LayerCompressor,
    Prefixed,
    PushDecompressor,
    compression_of,
    compressor_name,
    decompressing,
)
from ci_registry.errors import InputFileError

DATA = random.Random(1).randbytes(150_000) * 3 + b"x" * 900_000


def compressed(data: bytes, cuts: list[int]) -> bytes:
    compressor = LayerCompressor()
    out, position, turn = [], 0, 0
    while position < len(data):
        size = cuts[turn % len(cuts)]
        out.append(compressor.compress(memoryview(data)[position : position + size]))
        position, turn = position + size, turn + 1
    return b"".join(out) + compressor.finish()


@pytest.mark.parametrize("cuts", [[1 << 20], [65536], [65535, 3], [10_000, 200_000, 1], [len(DATA)]])
def test_a_layer_gets_the_same_bytes_however_it_arrives(cuts: list[int]) -> None:
    found = compressed(DATA, cuts)
    assert found == compressed(DATA, [4096])
    assert gzip.decompress(found) == DATA


def test_an_empty_layer() -> None:
    assert gzip.decompress(compressed(b"", [1])) == b""


def test_the_header_holds_neither_time_nor_name() -> None:
    assert compressed(b"layer", [5])[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


def test_the_compressor_is_named_with_version_and_level() -> None:
    assert compressor_name().startswith("isal-")
    assert "level2" in compressor_name()


KINDS = {
    "gzip": gzip.compress(DATA[:1000]) + gzip.compress(DATA),
    "xz": lzma.compress(DATA[:1000]) + b"\0" * 8 + lzma.compress(DATA),
    "zstd": zstandard.compress(DATA[:1000]) + zstandard.compress(DATA),
}


class Trickle:
    """Gives a thousand bytes at a time at most."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, 1000))


def read_all(content: bytes, kind: str) -> bytes:
    reader = decompressing(Trickle(content), kind, "app.tar")
    return b"".join(iter(lambda: reader.read(50_000), b""))


@pytest.mark.parametrize("kind", KINDS)
def test_reading_several_streams_in_one_file(kind: str) -> None:
    assert compression_of(KINDS[kind][:HEAD_BYTES]) == kind
    assert read_all(KINDS[kind], kind) == DATA[:1000] + DATA


def test_what_is_not_compressed() -> None:
    assert compression_of(b"manife") == compression_of(b"") == ""


@pytest.mark.parametrize("kind", ["gzip", "xz"])
@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_damage_is_named(kind: str, damage: str) -> None:
    content = KINDS[kind]
    bad = content[:-20] if damage == "cut off" else content[:-200] + b"junkjunk" + content[-192:]
    with pytest.raises(InputFileError, match=f"reading app.tar failed: its {kind} compression is damaged"):
        read_all(bad, kind)


def test_damaged_zstd() -> None:
    bad = zstandard.ZstdCompressor(write_checksum=True).compress(DATA)
    with pytest.raises(InputFileError, match="zstd compression is damaged"):
        read_all(bad[:100_000] + b"junkjunk" + bad[100_008:], "zstd")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@pytest.mark.parametrize("step", [999, 100_000, 10_000_000])
def test_pushing_compressed_bytes_gives_bounded_pieces(kind: str, step: int) -> None:
    pieces: list[bytes] = []
    push = PushDecompressor(kind, "a layer", pieces.append)
    content = memoryview(KINDS[kind])
    for start in range(0, len(content), step):
        push.write(content[start : start + step])
    push.finish()
    assert b"".join(pieces) == DATA[:1000] + DATA
    assert max(len(piece) for piece in pieces) <= 256 * 1024


def test_pushed_bytes_that_end_early() -> None:
    push = PushDecompressor("gzip", "the layer sha256:1", lambda _: None)
    push.write(KINDS["gzip"][:-20])
    with pytest.raises(InputFileError, match="reading the layer sha256:1 failed"):
        push.finish()


def test_bytes_before_a_file() -> None:
    file = Prefixed(b"abc", io.BytesIO(b"def"))
    assert [file.read(2), file.read(2), file.read(2), file.read(2)] == [b"ab", b"c", b"de", b"f"]
