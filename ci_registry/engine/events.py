"""What a run tells its listener: typed events, and the counts they add up to."""

from __future__ import annotations

import threading
from typing import Literal

from msgspec import Struct, field

__all__ = ["Counts", "Event", "EventKind"]

EventKind = Literal[
    "resolved",
    "copied",
    "mounted",
    "present",
    "left-out",
    "manifest",
    "tagged",
    "unchanged",
    "bytes",
    "warning",
    "failed",
]


class Event(Struct, frozen=True):
    """One thing that happened. `where` is a repository as people know it; `count` is bytes for blobs and `bytes`."""

    kind: EventKind
    where: str = ""
    digest: str = ""
    tag: str = ""
    count: int = 0
    text: str = ""


class Counts(Struct, eq=False):
    """Totals of a run. Blob counts are per destination; bytes read are counted once however many destinations."""

    blobs_copied: int = 0
    blobs_mounted: int = 0
    blobs_present: int = 0
    blobs_left_out: int = 0
    manifests: int = 0
    tags: int = 0
    tags_unchanged: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, event: Event) -> None:
        """Count an event; may be called from any thread."""
        with self._lock:
            if event.kind == "copied":
                self.blobs_copied += 1
                self.bytes_written += event.count
            elif event.kind == "mounted":
                self.blobs_mounted += 1
            elif event.kind == "present":
                self.blobs_present += 1
            elif event.kind == "left-out":
                self.blobs_left_out += 1
            elif event.kind == "manifest":
                self.manifests += 1
            elif event.kind == "tagged":
                self.tags += 1
            elif event.kind == "unchanged":
                self.tags_unchanged += 1
            elif event.kind == "bytes":
                self.bytes_read += event.count

    def to_json(self) -> dict[str, int]:
        """The totals by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if not name.startswith("_")}
