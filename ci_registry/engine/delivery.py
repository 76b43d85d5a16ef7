"""One image on its way to one destination, and the manifests that a destination is getting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from ..errors import CiRegistryError
from ..model.descriptor import Descriptor
from ..model.manifest import Manifest
from ..targets.base import Target
from .events import Event, EventKind
from .immutable import set_tag
from .waiting import Waiting

if TYPE_CHECKING:
    from .copy import Run

__all__ = ["Delivery", "Destination", "Node", "NodeBoard", "TagGuard"]

URGENT_PUT = 1

TagGuard = Callable[[Target, str, Descriptor | None, Descriptor], None]
"""Asked before a tag is moved: (target, tag, what it holds now, what it is to hold); raises to refuse."""


class Destination(Struct, frozen=True):
    """A target with the tags to set there; without tags the content is put by digest alone."""

    target: Target
    tags: tuple[str, ...] = ()
    guard: TagGuard | None = None


class Node(Waiting):
    """A manifest wanted at one destination. Once its parts are there it is put by digest, or by its owner.

    The owner is the delivery whose root it is: it puts the manifest under a tag, which saves a request.
    """

    def __init__(self, run: Run, target: Target) -> None:
        super().__init__()
        self._run, self._target = run, target
        self.manifest: Manifest | None = None
        self.owner: Delivery | None = None

    @property
    def is_wanted(self) -> bool:
        return (self.owner is not None and not self.owner.is_over) or super().is_wanted

    def _ready(self) -> None:
        if self.owner is not None:
            self.owner.release()
        else:
            self._run.task(self._put, [self._target.location.host], self._put_failed, urgency=URGENT_PUT)

    def _put(self) -> None:
        manifest, self.manifest = self.manifest, None  # many nodes live as long as the run; their bytes need not
        assert manifest is not None  # noqa: S101 - set before the node is expanded
        self._target.put_manifest(manifest)
        where = self._target.location.name
        self._run.event(Event("manifest", where, manifest.digest, count=manifest.descriptor.size))
        self.done()

    def _put_failed(self, error: CiRegistryError) -> None:
        self.fail(error.on("target", self._target.location.name))


class _Brought(Node):
    """Stands for every manifest that has arrived: thousands of them need not live as long as the run."""

    def __init__(self) -> None:
        Waiting.__init__(self)
        self.done()


_THERE = _Brought()


class NodeBoard:
    """The nodes of a run by destination and digest, shared by all images, so that a common child is put once."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str, str], Node] = {}
        self._lock = threading.Lock()

    def node(self, run: Run, target: Target, digest: str) -> tuple[Node, bool]:
        """The node, and whether it is new, so that who asked has to expand it."""
        key = (target.location.store, target.location.repository, digest)
        with self._lock:
            known = self._nodes.get(key)
            if known is not None:
                return known, False
            node = self._nodes[key] = Node(run, target)
        node.on_end(lambda: self._forget(key), lambda _: None)
        return node, True

    def _forget(self, key: tuple[str, str, str]) -> None:
        with self._lock:
            self._nodes[key] = _THERE


class Delivery(Waiting):
    """One image for one destination: what is there, what it lacks, and its tags, which are set last.

    After the run: `error` says why it failed, `previous` what each tag named before, `tags_set` which were set.
    """

    def __init__(self, run: Run, destination: Destination) -> None:
        super().__init__()
        self._run, self._destination = run, destination
        self.target = destination.target
        self.tags = destination.tags
        self.previous: dict[str, Descriptor | None] = {}
        self.tags_set: list[str] = []
        self.lacks_content = self.lacks_tags = True
        self.target_is_new = False
        self.root_node: Node | None = None
        self._manifest: Manifest | None = None
        self._tags_left: list[str] = []

    @property
    def where(self) -> str:
        return self.target.location.name

    @property
    def unchanged(self) -> bool:
        """Whether everything was there already."""
        return not self.lacks_content and not self.lacks_tags

    @property
    def is_wanted(self) -> bool:
        return not self.is_over

    @property
    def guard(self) -> TagGuard | None:
        return self._destination.guard

    def node_for(self, child: Descriptor) -> tuple[Node, bool]:
        return self._run.board.node(self._run, self.target, child.digest)

    # -- what is there -------------------------------------------------------------------------------------------

    def check(self, root: Descriptor) -> None:
        """Ask the destination for the tags and the content; the guard refuses tags that must not move.

        One listing of the repository answers for many tags, and shows whether there is a repository at all; for a
        single tag it is asked only when the tag is not there.
        """
        if self._run.tags_wanted(self.target) > 2:
            self.target_is_new = self._run.is_new(self.target)
        for tag in self.tags:
            self.previous[tag] = None if self.target_is_new else self.target.tagged(tag)
        self._tags_left = [tag for tag in self.tags if not _same(self.previous[tag], root)]
        for tag in self._tags_left:
            if self.guard is not None:
                self.guard(self.target, tag, self.previous[tag], root)
        self.lacks_tags = bool(self._tags_left)
        self.lacks_content = self._lacks(root)

    def _lacks(self, root: Descriptor) -> bool:
        if any(_same(found, root) for found in self.previous.values()):
            return False
        if all(found is None for found in self.previous.values()):
            self.target_is_new = self._run.is_new(self.target)
        return self.target_is_new or not self.target.exists([root])

    def finish_unchanged(self, root: Descriptor) -> None:
        for tag in self.tags:
            self._run.event(Event("unchanged", self.where, root.digest, tag))
        self.done()

    # -- bringing it ---------------------------------------------------------------------------------------------

    def begin(self, manifest: Manifest) -> None:
        """Wait for the content of this root, which is expanded by the caller if `lacks_content` still says so."""
        self._manifest = manifest
        if not self.lacks_content:
            return
        node, is_fresh = self.node_for(manifest.descriptor)
        if is_fresh:
            node.owner, self.root_node = self, node
            self.hold()
            node.on_end(lambda: None, self.fail)
        else:
            self.lacks_content = False  # another image of this run brings the same root
            self.wait_for(node)

    def fail(self, error: CiRegistryError) -> None:
        super().fail(error)
        if self.root_node is not None:
            self.root_node.fail(error)

    def fail_late(self, error: CiRegistryError) -> None:
        """What was delivered could not be kept after all: an archive that can't be written at the end."""
        self.error = error

    def _ready(self) -> None:
        """All content is there: put the root, and set the tags."""
        if self.root_node is not None:
            first = self._tags_left[0] if self._tags_left else None
            self._task(lambda: self._put_root(first))
        elif self._tags_left:
            self._set_tags(self._tags_left)
        else:
            self.done()

    def _put_root(self, tag: str | None) -> None:
        assert self.root_node is not None  # noqa: S101 - only called for the owner of the root
        self._put(tag)
        self.root_node.done()
        if len(self._tags_left) > 1:
            self._set_tags(self._tags_left[1:])
        else:
            self._end_well()

    def _set_tags(self, tags: list[str]) -> None:
        for tag in tags:
            self._task(lambda tag=tag: self._set_tag(tag))  # type: ignore[misc]

    def _set_tag(self, tag: str) -> None:
        if self._put(tag) == len(self._tags_left):
            self._end_well()

    def _put(self, tag: str | None) -> int:
        """Put the root by tag or digest; how many tags are set by now."""
        manifest = self._manifest
        assert manifest is not None  # noqa: S101 - set by begin
        if tag:
            set_tag(self.target, manifest, tag)
        else:
            self.target.put_manifest(manifest)
        kind: EventKind = "tagged" if tag else "manifest"
        self._run.event(Event(kind, self.where, manifest.digest, tag or "", manifest.descriptor.size))
        with self._lock:
            if tag:
                self.tags_set.append(tag)
            return len(self.tags_set)

    def _end_well(self) -> None:
        self._manifest = self.root_node = None
        self.done()

    def _task(self, action: Callable[[], None]) -> None:
        def failed(error: CiRegistryError) -> None:
            self.fail(error.on("target", self.where))

        self._run.task(action, [self.target.location.host], failed, urgency=URGENT_PUT)


def _same(found: Descriptor | None, root: Descriptor) -> bool:
    return found is not None and found.digest == root.digest
