"""One reading of an image from start to end: this thread reads, others compress and send what it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from ..errors import CiRegistryError
from ..model.descriptor import Digest
from ..transport.retry import Cancel
from .layer_upload import BLOCK_BYTES, Lane, LayerUpload, Sent
from .prepared import Part

__all__ = ["Walk"]

_LANES = 4
"""Layers under way at once: one is read while others wait for their registry. Bounds the memory with their length."""


class Walk:
    """Sends the layers in `wanted`. With `trusting`, a part that is said to be another layer is passed over.

    `upload` begins a layer, `took` is told what became of it, `config` is given a part that is a configuration and
    says whether that is all of it that is needed.
    """

    def __init__(
        self,
        wanted: Collection[Digest],
        trusting: bool,
        upload: Callable[[Part], LayerUpload],
        took: Callable[[Sent], None],
        needs_config: Callable[[], bool],
        config: Callable[[Part], None],
        read_bytes: Callable[[int], None],
        cancel: Cancel,
    ) -> None:
        self._wanted, self._trusting, self._upload, self._took = set(wanted), trusting, upload, took
        self._needs_config, self._config, self._read_bytes, self._cancel = needs_config, config, read_bytes, cancel
        self._begun: set[Digest] = set()
        self._running: list[Future[Sent]] = []
        self._slots = threading.BoundedSemaphore(_LANES)
        self.errors: dict[int, CiRegistryError] = {}
        self.met: set[Digest] = set()
        """The layers that were really in what was read."""

    def run(self, parts: Iterator[Part]) -> None:
        """Read until everything wanted was met. Raises what the source or a layer raised; see `errors` for targets."""
        with ThreadPoolExecutor(_LANES, "layer") as pool:
            try:
                self._read_parts(pool, parts)
            except BaseException:
                wait(self._running)  # they have been told to stop
                raise
            self._collect(self._running)

    def _read_parts(self, pool: ThreadPoolExecutor, parts: Iterator[Part]) -> None:
        for part in parts:
            self._cancel.check()
            if part.is_config and self._needs_config():
                self._config(part)
            elif not part.is_config and self._is_wanted(part):
                self._send(pool, part)
            if self._begun >= self._wanted and not self._needs_config():
                return

    def _is_wanted(self, part: Part) -> bool:
        if part.diff_id is None or not self._trusting:
            return True
        return part.diff_id in self._wanted and part.diff_id not in self._begun

    def _send(self, pool: ThreadPoolExecutor, part: Part) -> None:
        self._slots.acquire()
        self._collect([future for future in self._running if future.done()])
        lane = Lane()
        self._running.append(pool.submit(self._work, self._upload(part), lane))
        if part.diff_id is not None and self._trusting:
            self._begun.add(part.diff_id)
        whole = False
        try:
            whole = self._read(part, lane)
        finally:
            lane.end(given_up=not whole)

    def _read(self, part: Part, lane: Lane) -> bool:
        """Put a layer into its lane; False when the worker wants no more of it."""
        while data := part.read(BLOCK_BYTES):
            if lane.given_up:
                return False
            self._cancel.check()
            lane.put(data)
            self._read_bytes(len(data))
        return True

    def _work(self, upload: LayerUpload, lane: Lane) -> Sent:
        try:
            return upload.run(lane)
        finally:
            self._slots.release()

    def _collect(self, futures: list[Future[Sent]]) -> None:
        """Enter the results of workers; waits for those that are not done."""
        for future in list(futures):
            self._running.remove(future)
            sent = future.result()
            self.errors.update(sent.errors)
            if sent.diff_id is not None:
                self.met.add(sent.diff_id)
            self._took(sent)
