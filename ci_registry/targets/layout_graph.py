"""What refers to what in a layout, found by reading its manifests, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ..errors import IntegrityError, NotFoundError, UsageError
from ..model.descriptor import Descriptor, Digest
from ..model.manifest import Manifest, is_manifest
from .layout_index import Entry

__all__ = ["Graph", "Node"]


class Node(Struct, frozen=True):
    """The part of a manifest that matters here; `listed` is its descriptor in a listing of referrers."""

    listed: Descriptor
    subject: Digest | None = None
    children: tuple[Descriptor, ...] = ()


class Graph:
    """Remembers nodes by digest, which can't change, and what it found from the entries that it saw last."""

    def __init__(self, read: Callable[[Descriptor], Manifest]) -> None:
        self._read = read
        self._nodes: dict[Digest, Node] = {}
        self._seen: tuple[Sequence[Entry], dict[Digest, Node]] = ((), {})

    def node(self, descriptor: Descriptor) -> Node:
        """What is missing, damaged or no manifest refers to nothing: to say so is the matter of `verify`."""
        known = self._nodes.get(descriptor.digest)
        if known is not None:
            return known
        if descriptor.media_type and not is_manifest(descriptor.media_type):
            return Node(descriptor)
        try:
            manifest = self._read(descriptor)
        except (NotFoundError, IntegrityError, UsageError):
            return Node(descriptor)
        subject = manifest.subject.digest if manifest.subject is not None else None
        node = self._nodes[descriptor.digest] = Node(manifest.as_referrer(), subject, manifest.manifests)
        return node

    def reached(self, entries: Sequence[Entry]) -> dict[Digest, Node]:
        """The manifests that the entries lead to."""
        seen, nodes = self._seen
        if seen is not entries:
            nodes = self._walk(entries)
            self._seen = entries, nodes
        return nodes

    def _walk(self, entries: Sequence[Entry]) -> dict[Digest, Node]:
        waiting = [entry.descriptor for entry in entries]
        nodes: dict[Digest, Node] = {}
        while waiting:
            descriptor = waiting.pop()
            if descriptor.digest not in nodes:
                node = nodes[descriptor.digest] = self.node(descriptor)
                waiting.extend(node.children)
        return nodes

    def referrers(self, entries: Sequence[Entry], subject: Digest) -> list[Descriptor]:
        """The manifests with that subject, sorted by digest."""
        found = (node.listed for node in self.reached(entries).values() if node.subject == subject)
        return sorted(found, key=lambda descriptor: descriptor.digest)

    def parent(self, entries: Sequence[Entry], digest: Digest) -> Digest | None:
        """An index, reached from the entries, that contains this digest."""
        for parent, node in self.reached(entries).items():
            if any(child.digest == digest for child in node.children):
                return parent
        return None
