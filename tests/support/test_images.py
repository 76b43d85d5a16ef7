"""The image builder makes real content."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
import zstandard

from .fake_registry import FakeRegistry
from .images import DOCKER_LAYER, ImageBuilder, digest_of, fallback_tag, upload, write_layout
from .servers import skopeo_config, skopeo_raw
from .spaces import RegistrySpace
from .validator import validate_layout, validate_registry
from .wire import WireError


def test_same_seed_same_bytes() -> None:
    assert ImageBuilder(7).index(attestations=True).digest == ImageBuilder(7).index(attestations=True).digest
    assert ImageBuilder(7).image().digest != ImageBuilder(8).image().digest


@pytest.mark.parametrize("kind", ["gzip", "docker", "zstd"])
def test_layers_are_tars_with_true_diff_ids(images: ImageBuilder, kind: str) -> None:
    image = images.image(layers=2, docker=kind == "docker", zstd=kind == "zstd")
    config = json.loads(image.blobs[image.document["config"]["digest"]])
    for layer, diff_id in zip(image.document["layers"], config["rootfs"]["diff_ids"], strict=True):
        packed = image.blobs[layer["digest"]]
        tar = zstandard.ZstdDecompressor().decompress(packed) if kind == "zstd" else gzip.decompress(packed)
        assert digest_of(tar) == diff_id
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            assert [member.size for member in archive] == [1000]
        assert (layer["mediaType"] == DOCKER_LAYER) == (kind == "docker")


def test_streamed_layer_is_the_same_in_pieces_and_in_a_registry(registry: RegistrySpace, images: ImageBuilder) -> None:
    image = images.image([images.streamed_layer(3_000_001)])
    registry.upload(image)
    result = registry.validate()
    assert result.problems == []
    assert set(image.streamed) < result.digests


def test_a_nested_index_with_everything_reaches_a_layout(images: ImageBuilder, tmp_path: Path) -> None:
    inner = images.with_referrers(images.index(attestations=True))
    outer = images.index([inner, images.image(zstd=True, platform="linux/riscv64")])
    write_layout(outer, tmp_path, "1")
    write_layout(images.image([images.foreign_layer()], platform="windows/amd64:10.0.17763"), tmp_path, "2")
    result = validate_layout(tmp_path, "1", referrers=True)
    assert result.problems == []
    assert outer.digests() <= result.digests
    assert result.referrers == {referrer.digest for referrer in inner.referrers}
    second = validate_layout(tmp_path, "2")
    assert second.problems == []
    assert len(second.foreign) == 1


def test_upload_lists_referrers_by_api_or_by_tag(
    registry: RegistrySpace, fake_registry: FakeRegistry, images: ImageBuilder
) -> None:
    image = images.with_signature(images.with_referrers(images.index()))
    registry.upload(image)
    upload(image, fake_registry.url, "app", "1")
    wanted = {referrer.digest for referrer in image.referrers}
    assert registry.validate(referrers=True).referrers == wanted
    assert validate_registry(fake_registry.url, "app", "1", referrers=True).referrers == wanted
    assert set(fake_registry.repository("app").tags) == {"1", f"{fallback_tag(image.digest)}.sig"}


@pytest.mark.parametrize("docker", [False, True])
def test_skopeo_understands_what_was_uploaded(registry: RegistrySpace, images: ImageBuilder, docker: bool) -> None:
    image = images.image(docker=docker, platform="linux/arm64/v8", labels={"a": "b"})
    registry.upload(image)
    where = f"docker://{registry.reference()}"
    assert skopeo_raw(where) == image.content
    assert skopeo_config(where)["config"]["Labels"] == {"a": "b"}


def test_upload_says_what_was_refused(registry: RegistrySpace, images: ImageBuilder) -> None:
    with pytest.raises(WireError, match="500 instead of"):
        registry.upload(images.image([images.foreign_layer()]))
