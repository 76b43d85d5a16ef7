"""One layer on its way from an uncompressed stream to the places that lack it.

The reader of the stream puts blocks into a `Lane`, a worker takes them out, hashes them, compresses them and pushes
the result to every place at once. Lanes are short, so what is in memory stays bounded whatever the layers' sizes.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from msgspec import Struct, field

from ..adapters.compression import LayerCompressor
from ..errors import CiRegistryError, Interrupted, TransportError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import DOCKER_LAYER_GZIP
from .base import Mounted, Present, Target, Writer
from .composed import plain_layer
from .prepared import OnEvent, Part, PrepareEvent

__all__ = ["BLOCK_BYTES", "Lane", "LayerUpload", "Sent", "is_passing"]

BLOCK_BYTES = 1024 * 1024
_LANE_BLOCKS = 4
_AHEAD_BLOCKS = 2
_PATIENCE_SECONDS = 20.0
SMALL_BYTES = 1024 * 1024
"""Layers up to this size are compressed before they are sent: their digest is known then, so they can be found
present, sent in one request, and sent again."""

Block = bytes | memoryview


class Lane:
    """Blocks on their way to one worker. The reader must `end` every lane, also after an error.

    The reader hashes what it puts in: it has time while the worker compresses.
    """

    def __init__(self) -> None:
        self._blocks: queue.Queue[Block | None] = queue.Queue(_LANE_BLOCKS)
        self.given_up = False
        """The reader lost its source, or the worker all its targets: nobody needs the rest."""
        self._ended = False
        self._hash = hashlib.sha256()

    def put(self, block: Block) -> None:
        self._blocks.put(block)
        self._hash.update(block)

    def diff_id(self) -> Digest:
        """The digest of all that was put in; for the worker, after the last block."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def end(self, given_up: bool = False) -> None:
        self.given_up = self.given_up or given_up
        self._blocks.put(None)

    def __iter__(self) -> Iterator[Block]:
        while not self._ended:
            block = self._blocks.get()
            if block is None:
                self._ended = True
            else:
                yield block

    def drain(self) -> None:
        """Let the reader go on; for a worker that stops before the end."""
        self.given_up = True
        for _ in self:
            pass


class Ahead:
    """Goes through blocks in a thread of its own, a little ahead of who takes them: so a layer is compressed while
    what was compressed before is sent. Leaving waits for the thread, and raises what it raised."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._ready: queue.Queue[Block | None] = queue.Queue(_AHEAD_BLOCKS)
        self._raised: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="compress", daemon=True)

    def _run(self) -> None:
        try:
            for block in self._blocks:
                self._ready.put(block)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._raised = error
        self._ready.put(None)

    def __enter__(self) -> Iterator[Block]:
        self._thread.start()
        return self._taken()

    def _taken(self) -> Iterator[Block]:
        while not self._ended:
            block = self._ready.get()
            if block is None:
                self._ended = True
            else:
                yield block

    def __exit__(self, kind: object, *_: object) -> None:
        for _block in self._taken():
            pass
        self._thread.join()
        if self._raised is not None and kind is None:
            raise self._raised


class Sent(Struct):
    """What came of a layer: what it became, which targets have it, and what went wrong at others.

    `diff_id` is the real one; where no target took the layer it is what the layer was said to be.
    """

    diff_id: Digest | None
    descriptor: Descriptor | None = None
    stored: set[int] = field(default_factory=set)
    errors: dict[int, CiRegistryError] = field(default_factory=dict)


class LayerUpload:
    """Sends one layer to `targets`, by their positions in the caller's list.

    `descriptor` is what the layer will become, where that is sure. `wanted` is asked with the real diffID once it is
    known; a layer that nobody wants is dropped.
    """

    def __init__(
        self,
        targets: Mapping[int, Target],
        *,
        part: Part,
        plain: bool,
        descriptor: Descriptor | None,
        wanted: Callable[[Digest], bool],
        on_event: OnEvent,
    ) -> None:
        self._targets, self._plain, self._size = dict(targets), plain, part.size
        self._descriptor, self._wanted, self._on_event = descriptor, wanted, on_event
        self._writers: dict[int, Writer] = {}
        self._rehearsed: list[int] = []
        self._sent = Sent(part.diff_id)
        self._hash, self._count = hashlib.sha256(), 0

    def run(self, lane: Lane) -> Sent:
        """Take a layer from the lane; failures of targets are in the result, anything else is raised."""
        done = False
        try:
            if self._size is not None and self._size <= SMALL_BYTES:
                self._send_whole(lane)
            else:
                self._send_stream(lane)
            done = True
        finally:
            if not done or lane.given_up:
                self._abort_all()
            lane.drain()
        return self._sent

    def _send_whole(self, lane: Lane) -> None:
        parts = [self._counted(part) for part in self._converted(lane)]
        if lane.given_up or not self._is_wanted(lane):
            return
        self._descriptor = self._sent.descriptor
        self._open_all()
        for part in parts:
            self._write(part)
        self._commit_all()

    def _send_stream(self, lane: Lane) -> None:
        self._open_all()
        with Ahead(self._converted(lane)) as parts:
            for part in parts:
                self._write(self._counted(part))
                if not self._writers and not self._only_digest:
                    lane.given_up = True  # no target takes it, or all have it already
                    return
        if lane.given_up or not self._is_wanted(lane):
            self._abort_all()
            return
        self._commit_all()

    @property
    def _only_digest(self) -> bool:
        """In a rehearsal targets take nothing, and what they would get is still to be known."""
        return self._descriptor is None and bool(self._sent.stored)

    def _converted(self, lane: Lane) -> Iterator[Block]:
        """The bytes of the layer as they are stored."""
        compressor = None if self._plain else LayerCompressor()
        for block in lane:
            if lane.given_up:
                return
            out = compressor.compress(block) if compressor else block
            if len(out):
                yield out
        if compressor:
            yield compressor.finish()

    def _counted(self, data: Block) -> Block:
        if not self._plain:
            self._hash.update(data)
        self._count += len(data)
        return data

    def _is_wanted(self, lane: Lane) -> bool:
        """Now that the digests are known: whether this layer is wanted at all."""
        diff_id = self._sent.diff_id = lane.diff_id()
        if self._plain:
            self._sent.descriptor = plain_layer(diff_id, self._count)
        else:
            digest = Digest(f"sha256:{self._hash.hexdigest()}")
            self._sent.descriptor = Descriptor(DOCKER_LAYER_GZIP, digest, self._count)
        return self._wanted(diff_id)

    # -- the targets ---------------------------------------------------------------------------------------------

    def _open_all(self) -> None:
        for index, target in self._targets.items():
            try:
                opened = target.writer(self._descriptor)
            except CiRegistryError as error:
                self._failed(index, error)
                continue
            if isinstance(opened, (Present, Mounted)):
                self._took_nothing(index, opened)
            else:
                self._writers[index] = opened

    def _took_nothing(self, index: int, opened: Present | Mounted) -> None:
        """The target has the layer; or else, in a rehearsal, stands for one that would have got it."""
        self._sent.descriptor = self._descriptor
        self._sent.stored.add(index)
        if type(opened) is Present:
            self._event("present", self._targets[index])
        else:
            self._rehearsed.append(index)

    def _write(self, data: Block) -> None:
        view = memoryview(data)
        # One slow place must not hold up the others; it gets the layer in another walk.
        patience = _PATIENCE_SECONDS if len(self._writers) > 1 else None
        for index, writer in list(self._writers.items()):
            try:
                writer.write(view, patience)
            except CiRegistryError as error:
                self._failed(index, error)

    def _commit_all(self) -> None:
        descriptor = self._sent.descriptor
        assert descriptor is not None  # noqa: S101 - set by _is_wanted
        for index, writer in list(self._writers.items()):
            try:
                writer.commit(descriptor.digest)
            except CiRegistryError as error:
                self._failed(index, error)
                continue
            del self._writers[index]
            self._sent.stored.add(index)
            self._event("copied", self._targets[index])
        for index in self._rehearsed:
            self._event("copied", self._targets[index])

    def _failed(self, index: int, error: CiRegistryError) -> None:
        if isinstance(error, Interrupted):
            raise error
        self._sent.errors[index] = error
        writer = self._writers.pop(index, None)
        if writer is not None:
            writer.abort()

    def _abort_all(self) -> None:
        while self._writers:
            self._writers.popitem()[1].abort()

    def _event(self, kind: Literal["copied", "present"], target: Target) -> None:
        digest = self._sent.descriptor.digest if self._sent.descriptor else ""
        self._on_event(PrepareEvent(kind, target.location.name, digest, self._count))


def is_passing(error: CiRegistryError) -> bool:
    """Whether sending the layer once more may help."""
    return isinstance(error, TransportError) and error.retryable
