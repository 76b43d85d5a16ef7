"""Bring the layers of an image without a manifest to its targets, and make the manifest.

What earlier runs remember is tried first, then what the image's origins say: layers that every target has, or can
mount, are not read at all. The others are read in one walk over the image, compressed once, and sent to all targets
while the next layer is read. A walk is repeated for what a broken connection lost.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from ..errors import CiRegistryError, IntegrityError, Interrupted, RemoteError, TransportError
from ..model.descriptor import Descriptor, Digest, digest_of
from ..model.manifest import DOCKER_CONFIG, OCI_MANIFEST, Manifest, is_manifest
from ..transport.retry import Cancel
from .base import Mounted, Present, Target
from .composed import ComposedImage, compose, layer_form
from .prepared import (
    Forgetful,
    KnownBlob,
    LayeredImage,
    LayerMemory,
    OnEvent,
    Origins,
    Part,
    PlainLayers,
    PrefersOci,
    Prepared,
    PrepareEvent,
    TakesNotes,
)

if TYPE_CHECKING:
    from .layer_upload import LayerUpload, Sent

__all__ = ["prepare_image"]

CONFIG_LIMIT = 8 * 1024 * 1024
_CHECKS = 8
_WALKS = 4
_CANDIDATES = 3


def prepare_image(
    image: LayeredImage,
    targets: Sequence[Target],
    memory: LayerMemory | None = None,
    on_event: OnEvent = lambda _: None,
    cancel: Cancel | None = None,
) -> Prepared:
    """See `Preparable.prepare`; at least one target. Raises the first error when every target failed, and
    `IntegrityError` for a layer that is not what the configuration says."""
    try:
        # A cancel that is not set is false, so it must not be replaced by `or`.
        run = _Preparation(image, targets, memory or Forgetful(), on_event, Cancel() if cancel is None else cancel)
        return run.run()
    except Interrupted:
        raise
    except CiRegistryError as error:
        raise error.on("source", image.location.name) from error.__cause__


class _Layer(Struct):
    """What is known of one layer. It is done when every target that still counts is in `at`."""

    diff_id: Digest
    descriptor: Descriptor | None = None
    at: set[int] = field(default_factory=set)
    made_here: bool = False
    compressor: str = ""
    where: tuple[tuple[str, str], ...] = ()


class _Preparation:
    def __init__(
        self, image: LayeredImage, targets: Sequence[Target], memory: LayerMemory, on_event: OnEvent, cancel: Cancel
    ) -> None:
        self._image, self._targets, self._on_event, self._cancel = image, list(targets), on_event, cancel
        self._plain = all(isinstance(target, PlainLayers) and target.plain_layers for target in targets)
        self._oci = any(isinstance(target, PrefersOci) and target.prefers_oci for target in targets)
        self._memory = Forgetful() if self._plain else memory
        self._layers = {diff_id: _Layer(diff_id) for diff_id in image.diff_ids}
        self._failures: dict[int, CiRegistryError] = {}
        self._lock = threading.Lock()
        self._origins = Origins()
        self._config = image.config
        self._config_size = len(image.config) if image.config is not None else None

    def run(self) -> Prepared:
        known = self._memory.known([self._image.image_id, *self._layers])
        root = self._seen_before(known.get(self._image.image_id, ()))
        if root is not None:
            return self._prepared(root, None)
        self._settle(known)
        if self._open() and not self._plain:
            self._origins = self._image.origins([layer.diff_id for layer in self._open()], self._alive())
            self._settle(self._origins.blobs)
        if self._config is None and not self._open():
            self._find_config(known.get(self._image.image_id, ()))
        try:
            self._bring()
        finally:
            self._remember_layers()
        manifest = self._manifest()
        self._remember_image(manifest)
        self._note(manifest)
        return self._prepared(manifest.descriptor, manifest)

    def _prepared(self, root: Descriptor, manifest: Manifest | None) -> Prepared:
        source = ComposedImage(self._image.location, root, self._alive(), manifest, self._config)
        return Prepared(source, root, self._failures)

    # -- the targets ---------------------------------------------------------------------------------------------

    def _numbers(self) -> set[int]:
        return {index for index in range(len(self._targets)) if index not in self._failures}

    def _alive(self) -> list[Target]:
        return [self._targets[index] for index in sorted(self._numbers())]

    def _fail(self, index: int, error: CiRegistryError) -> None:
        """Go on without a target; without the last one there is nothing left to do."""
        if isinstance(error, Interrupted):
            raise error
        with self._lock:
            self._failures.setdefault(index, error.on("target", self._targets[index].location.name))
        if not self._numbers():
            raise self._failures[min(self._failures)]

    def _open(self) -> list[_Layer]:
        return [layer for layer in self._layers.values() if not self._is_done(layer)]

    def _is_done(self, layer: _Layer) -> bool:
        return layer.descriptor is not None and self._numbers() <= layer.at

    # -- what is there already -----------------------------------------------------------------------------------

    def _seen_before(self, known: Sequence[KnownBlob]) -> Descriptor | None:
        """The manifest that this image became earlier, if every target has it."""
        for candidate in known[:_CANDIDATES]:
            media_type = candidate.descriptor.media_type
            is_fit = media_type == OCI_MANIFEST if self._oci else is_manifest(media_type)
            if is_fit and self._is_everywhere(candidate):
                return candidate.descriptor
        return None

    def _is_everywhere(self, blob: KnownBlob) -> bool:
        return all(self._ask(index, blob) for index in sorted(self._numbers()))

    def _settle(self, known: Mapping[Digest, Sequence[KnownBlob]]) -> None:
        """Find layers that need not be read."""
        layers = [layer for layer in self._open() if known.get(layer.diff_id)]
        if not layers:
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_CHECKS, "check") as pool:
            list(pool.map(lambda layer: self._settle_layer(layer, known[layer.diff_id]), layers))

    def _settle_layer(self, layer: _Layer, candidates: Sequence[KnownBlob]) -> None:
        from ..adapters.compression import compressor_name

        for candidate in [each for each in candidates if layer_form(each.descriptor.media_type) is not None][
            :_CANDIDATES
        ]:
            at = {index for index in sorted(self._numbers()) if self._ask(index, candidate)}
            is_everywhere = self._numbers() <= at
            # What our compressor makes can be made again for those that lack it, so the others need not get it.
            if is_everywhere or (at and candidate.compressor == compressor_name()):
                layer.descriptor, layer.at = candidate.descriptor, at
                layer.compressor, layer.where = candidate.compressor, candidate.where
            if is_everywhere:
                return

    def _ask(self, index: int, blob: KnownBlob) -> bool:
        try:
            return self._has(self._targets[index], blob)
        except CiRegistryError as error:
            self._fail(index, error)
            return True  # a target that dropped out lacks nothing

    def _has(self, target: Target, blob: KnownBlob) -> bool:
        """Whether a target has a blob, or links it from another of its repositories."""
        here = target.location
        others = [repository for store, repository in blob.where if store == here.store]
        if others and here.repository not in others and not is_manifest(blob.descriptor.media_type):
            opened = self._mount(target, blob, others[0])
            if isinstance(opened, Mounted):
                return self._event("mounted", here.name, blob.descriptor, opened.source)
            if isinstance(opened, Present):
                return self._event("present", here.name, blob.descriptor)
        if not target.exists([blob.descriptor]):
            return False
        return is_manifest(blob.descriptor.media_type) or self._event("present", here.name, blob.descriptor)

    def _mount(self, target: Target, blob: KnownBlob, repository: str) -> Mounted | Present | None:
        """Ask for a link; a registry that does not know how may refuse in any way."""
        try:
            opened = target.writer(blob.descriptor, mount_from=[repository])
        except (Interrupted, TransportError):
            raise
        except CiRegistryError:
            return None
        if isinstance(opened, (Mounted, Present)):
            return opened
        opened.abort()
        return None

    def _find_config(self, known: Sequence[KnownBlob]) -> None:
        """The configuration need not be read when every target has it."""
        for candidate in known[:_CANDIDATES]:
            if is_manifest(candidate.descriptor.media_type) or candidate.descriptor.digest != self._image.image_id:
                continue
            if self._is_everywhere(candidate):
                self._config_size = candidate.descriptor.size
                return

    def _event(
        self, kind: Literal["mounted", "present"], where: str, descriptor: Descriptor, text: str = ""
    ) -> Literal[True]:
        self._on_event(PrepareEvent(kind, where, descriptor.digest, descriptor.size, text))
        return True

    # -- reading the image ---------------------------------------------------------------------------------------

    def _bring(self) -> None:
        from .layer_upload import is_passing  # most pushes in a day bring nothing

        trusting = True
        for number in range(_WALKS):
            if not self._open() and self._config_size is not None:
                return
            if number == 0:
                self._on_event(PrepareEvent("saving", self._image.location.name))
            errors, met = self._walk(trusting)
            for index, error in errors.items():
                if number == _WALKS - 1 or not is_passing(error):
                    self._fail(index, error)
            if trusting:
                trusting = met  # a layer was not where its name said: now look into each
            elif not met:
                break
            if self._config_size is None and met:
                break  # this walk went to the end for it
        if self._open() or self._config_size is None:
            raise self._incomplete()

    def _incomplete(self) -> CiRegistryError:
        missing = self._open()[0].diff_id if self._open() else self._image.image_id
        what = "the layer" if self._open() else "the configuration"
        return RemoteError(
            f"reading {self._image.location.name} failed: {what} {missing} that it should have was not in it",
            hint="the image's storage may be damaged; build or load it again",
        )

    def _walk(self, trusting: bool) -> tuple[dict[int, CiRegistryError], bool]:
        """Read the image once. Gives the targets' errors, and whether every layer that was wanted was met."""
        from .layer_walk import Walk

        wanted = {layer.diff_id for layer in self._open()}
        walk = Walk(
            wanted,
            trusting,
            lambda part: self._upload(part, trusting),
            self._took,
            lambda: self._config_size is None,
            self._take_config,
            lambda count: self._on_event(PrepareEvent("bytes", self._image.location.name, count=count)),
            self._cancel,
        )
        with self._image.walk(self._cancel) as parts:
            walk.run(parts)
        return walk.errors, wanted <= walk.met

    def _take_config(self, part: Part) -> None:
        """Keep the configuration, if that is what the part is."""
        content = b"".join(bytes(data) for data in iter(lambda: part.read(CONFIG_LIMIT), b""))
        if digest_of(content) == self._image.image_id:
            self._config, self._config_size = content, len(content)

    def _upload(self, part: Part, trusting: bool) -> LayerUpload:
        """Begin to send a layer to the targets that lack it."""
        from .layer_upload import LayerUpload

        layer = self._layers.get(part.diff_id) if part.diff_id and trusting else None
        have = layer.at if layer is not None else set()
        return LayerUpload(
            {index: self._targets[index] for index in sorted(self._numbers() - have)},
            part=part,
            plain=self._plain,
            descriptor=layer.descriptor if layer is not None and layer.made_here else None,
            wanted=lambda found: self._is_wanted(part, found),
            on_event=self._on_event,
        )

    def _is_wanted(self, part: Part, found: Digest) -> bool:
        layer = self._layers.get(found)
        if layer is None:
            says = f"the image's configuration says {part.diff_id}" if part.diff_id else "the image has no such layer"
            raise IntegrityError(
                f"reading {self._image.location.name} failed: the layer {part.name} has the diffID {found}, and {says}",
                hint="the image is damaged; build or save it again",
            )
        return not self._is_done(layer)

    def _took(self, sent: Sent) -> None:
        """Enter what became of a layer."""
        from ..adapters.compression import compressor_name

        layer = self._layers.get(sent.diff_id) if sent.diff_id else None
        if layer is None or sent.descriptor is None or not sent.stored:
            return
        if layer.descriptor is not None and layer.descriptor.digest == sent.descriptor.digest:
            layer.at |= sent.stored
        else:
            layer.at = set(sent.stored)
        layer.descriptor, layer.made_here = sent.descriptor, True
        layer.compressor = "" if self._plain else compressor_name()

    # -- the end -------------------------------------------------------------------------------------------------

    def _manifest(self) -> Manifest:
        layers = [layer for diff_id in self._image.diff_ids if (layer := self._layers[diff_id].descriptor) is not None]
        for manifest in self._origins.manifests:
            if [layer.digest for layer in manifest.layers] == [layer.digest for layer in layers]:
                return manifest  # this very image was pulled from somewhere: it keeps its digest
        config = Descriptor(DOCKER_CONFIG, self._image.image_id, self._config_size or 0)
        return compose(config, layers, self._oci)

    def _remember_layers(self) -> None:
        found: dict[Digest, list[KnownBlob]] = {key: list(blobs) for key, blobs in self._origins.blobs.items()}
        for layer in self._layers.values():
            if layer.descriptor is not None and layer.at:
                blob = KnownBlob(layer.descriptor, layer.compressor, layer.where)
                places = [self._targets[index].location for index in sorted(layer.at)]
                found[layer.diff_id] = [blob.at(*places), *found.get(layer.diff_id, ())]
        if found:
            self._memory.remember(found)

    def _note(self, manifest: Manifest) -> None:
        """Spare the copy that follows what is known by now."""
        config = [manifest.config] if manifest.config is not None and self._config is None else []
        for index in sorted(self._numbers()):
            target = self._targets[index]
            if isinstance(target, TakesNotes):
                layers = [each.descriptor for each in self._layers.values() if each.descriptor and index in each.at]
                target.note_present(layers + config)

    def _remember_image(self, manifest: Manifest) -> None:
        places = [target.location for target in self._alive()]
        blobs = [KnownBlob(manifest.descriptor).at(*places)]
        if manifest.config is not None:
            blobs.append(KnownBlob(manifest.config).at(*places))
        self._memory.remember({self._image.image_id: blobs})
