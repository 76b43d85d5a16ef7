"""`Writer`: bytes pushed in pieces, checked, given up, gone on with, and mounted."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from ci_registry.errors import CiRegistryError, IntegrityError, TransportError
from ci_registry.model.descriptor import Descriptor, Digest
from ci_registry.targets.base import Mounted, Present, Session, Target, Writer
from tests.support.images import ImageBuilder
from tests.support.servers import wait_until

from .places import BLOB, Place, begin, bring, descriptor_of, read_all, write_blob


def blob(images: ImageBuilder, size: int = 3000) -> tuple[bytes, Descriptor]:
    layer = images.layer(size, opaque=True)
    assert isinstance(layer.content, bytes)
    return layer.content, Descriptor(BLOB, layer.descriptor.digest, size)


def push(writer: Writer, content: bytes, digest: Digest, piece_bytes: int = 1000) -> None:
    for start in range(0, len(content), piece_bytes):
        writer.write(memoryview(content)[start : start + piece_bytes])
    writer.commit(digest)


@pytest.mark.parametrize("piece_bytes", [1, 1000, 3000, 5000])
def test_bytes_in_pieces_of_any_size(place: Place, images: ImageBuilder, piece_bytes: int) -> None:
    content, descriptor = blob(images)
    target = place.open()
    writer = begin(target, descriptor)
    assert writer.offset == 0
    for start in range(0, len(content), piece_bytes):
        writer.write(memoryview(content)[start : start + piece_bytes])
        assert writer.offset == min(start + piece_bytes, len(content))
    writer.commit(descriptor.digest)
    assert target.exists([descriptor]) == {descriptor}
    assert read_all(place.open(), descriptor) == content
    assert place.uploads() == 0


@pytest.mark.parametrize("size", [0, 3000])
def test_a_digest_that_is_known_only_at_the_end(place: Place, images: ImageBuilder, size: int) -> None:
    content, descriptor = blob(images, size)
    writer = begin(place.open(), None)
    for start in range(0, size, 500):
        writer.write(memoryview(content)[start : start + 500])
    assert writer.offset == size
    writer.commit(descriptor.digest)
    assert read_all(place.open(), descriptor) == content
    assert place.uploads() == 0


def test_an_empty_blob(place: Place) -> None:
    descriptor = descriptor_of(b"", f"sha256:{hashlib.sha256().hexdigest()}")
    target = place.open()
    opened = target.writer(descriptor)
    if not isinstance(opened, Present | Mounted):
        opened.commit(descriptor.digest)
    assert read_all(place.open(), descriptor) == b""
    assert place.uploads() == 0


def test_a_blob_that_is_there_already(place: Place, images: ImageBuilder) -> None:
    content, descriptor = blob(images)
    for _ in range(2):
        write_blob(place.open(), content, descriptor.digest)
    assert read_all(place.open(), descriptor) == content


@pytest.mark.parametrize("known", [True, False])
def test_wrong_bytes_are_refused_and_not_kept(place: Place, images: ImageBuilder, known: bool) -> None:
    content, descriptor = blob(images)
    target = place.open()
    writer = begin(target, descriptor if known else None)
    writer.write(memoryview(content[:-1] + bytes([content[-1] ^ 1])))
    with pytest.raises(IntegrityError) as caught:
        writer.commit(descriptor.digest)
    assert target.location.name in str(caught.value)
    assert caught.value.exit_code == 6
    assert place.open().exists([descriptor]) == set()
    writer.abort()
    if place.cancels_broken_uploads:
        assert place.uploads() == 0


@pytest.mark.parametrize("size", [2000, 4000])
def test_another_number_of_bytes_than_announced_is_refused(place: Place, images: ImageBuilder, size: int) -> None:
    content, _ = blob(images, size)
    _, descriptor = blob(images, 3000)
    target = place.open()
    writer = begin(target, descriptor)
    with pytest.raises(CiRegistryError, match=descriptor.digest):
        push(writer, content, descriptor.digest)
    writer.abort()
    assert place.open().exists([descriptor]) == set()
    if place.cancels_broken_uploads:
        wait_until(lambda: place.uploads() == 0, "the end of the upload")


@pytest.mark.parametrize("written", [0, 1000, 2999])
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_left_of_an_upload_that_was_given_up(
    place: Place, images: ImageBuilder, written: int, known: bool
) -> None:
    content, descriptor = blob(images)
    writer = begin(place.open(), descriptor if known else None)
    if written:
        writer.write(memoryview(content)[:written])
    writer.abort()
    if place.cancels_broken_uploads or not written:
        wait_until(lambda: place.uploads() == 0, "the end of the upload")
    writer.abort()
    assert place.open().exists([descriptor]) == set()


def test_giving_up_after_the_end_does_no_harm(place: Place, images: ImageBuilder) -> None:
    content, descriptor = blob(images)
    writer = begin(place.open(), descriptor)
    writer.write(memoryview(content))
    writer.commit(descriptor.digest)
    writer.abort()
    assert read_all(place.open(), descriptor) == content


@pytest.mark.parametrize("written", [0, 200_000])
def test_another_process_goes_on_with_an_upload(place: Place, images: ImageBuilder, written: int) -> None:
    content, descriptor = blob(images, 300_000)
    first = place.open()
    writer = begin(first, descriptor)
    session = json.dumps(writer.session)
    for start in range(0, written, 50_000):
        writer.write(memoryview(content)[start : start + 50_000])
    place.sever(first)
    del writer

    try:
        go_on(place.open(), descriptor, content, json.loads(session), written)
    except (TransportError, IntegrityError):
        # A registry that has not noticed yet that the first process is gone still takes its bytes in, so that those of
        # the second one are out of place. It says so, and the copy begins that blob anew, once.
        assert written
        go_on(place.open(), descriptor, content, None, 0)
    assert read_all(place.open(), descriptor) == content


def go_on(target: Target, descriptor: Descriptor, content: bytes, session: Session | None, written: int) -> None:
    again = target.writer(descriptor, session=session)
    assert not isinstance(again, Present | Mounted)
    assert 0 <= again.offset <= written
    again.write(memoryview(content)[again.offset :])
    again.commit(descriptor.digest)


def test_an_upload_whose_session_is_gone_begins_anew(place: Place, images: ImageBuilder) -> None:
    content, descriptor = blob(images)
    writer = begin(place.open(), descriptor)
    session = json.loads(json.dumps(writer.session))
    writer.abort()
    again = place.open().writer(descriptor, session=session)
    assert not isinstance(again, Present | Mounted)
    assert again.offset == 0
    again.write(memoryview(content))
    again.commit(descriptor.digest)
    assert read_all(place.open(), descriptor) == content


def test_two_writers_of_one_blob(place: Place, images: ImageBuilder) -> None:
    content, descriptor = blob(images)
    writers = [begin(place.open(), descriptor) for _ in range(2)]
    for start in range(0, len(content), 1000):
        for writer in writers:
            writer.write(memoryview(content)[start : start + 1000])
    for writer in writers:
        writer.commit(descriptor.digest)
    assert read_all(place.open(), descriptor) == content
    assert place.uploads() == 0


def test_many_writers_at_once(place: Place, images: ImageBuilder) -> None:
    blobs = [blob(images, 10_000) for _ in range(12)]
    target = place.open()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: write_blob(target, each[0], each[1].digest), blobs))
    wanted = {descriptor for _, descriptor in blobs}
    assert place.open().exists(wanted) == wanted


def test_a_blob_is_mounted_from_another_repository(shared_place: Place, images: ImageBuilder) -> None:
    image = images.image()
    source, target = shared_place.open("source"), shared_place.open("target")
    bring(source, image, "1.0")
    assert source.location.store == target.location.store
    for digest, content in image.blobs.items():
        opened = target.writer(descriptor_of(content, digest), [source.location.repository])
        assert opened == Mounted(source.location.repository)
    bring(target, image, "1.0")
    assert shared_place.validate("1.0", repository="target").problems == []


def test_a_mount_that_fails_is_an_upload(shared_place: Place, images: ImageBuilder) -> None:
    content, descriptor = blob(images)
    target = shared_place.open("target")
    opened = target.writer(descriptor, [shared_place.open("elsewhere").location.repository])
    assert not isinstance(opened, Present | Mounted)
    opened.write(memoryview(content))
    opened.commit(descriptor.digest)
    assert target.exists([descriptor]) == {descriptor}
    assert shared_place.uploads() == 0
