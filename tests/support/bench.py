"""Targets as a run of ci-registry opens them, with what tests of a kind of target do to each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci_registry.engine.verify import verify
from ci_registry.errors import CiRegistryError
from ci_registry.kinds.base import OpenTarget
from ci_registry.ops.config import Config
from ci_registry.ops.copying import CopyJob, CopyOrder, Landing
from ci_registry.ops.places import Places
from ci_registry.ops.results import CopyReport
from ci_registry.targets.base import Lister, Source

from .images import BuiltImage, write_layout
from .skopeo import skopeo, skopeo_raw
from .validator import validate_layout

__all__ = ["Bench"]


class Bench:
    """One run over a configuration. `notes` is what it told the user. Places are written as people type them."""

    def __init__(self, folder: Path, targets: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.notes: list[str] = []
        environ = dict(os.environ) if environ is None else environ
        config = Config({"targets": dict(targets)}, environ=environ)
        self.places = Places(config, environ, notify=self.notes.append)
        self._count = 0

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.places.close()

    def target(self, name: str) -> OpenTarget:
        return self.places.target(name)

    def source(self, place: str) -> Source:
        return self.places.repository(self.places.parse(place))

    def push(self, image: BuiltImage, place: str, *, dry_run: bool = False) -> CopyReport:
        """Push an image out of a layout; raises what the run failed with."""
        layout = write_layout(image, self._new_folder(), "1")
        return self.copy(f"oci:{layout}:1", place, dry_run=dry_run)

    def refused(self, image: BuiltImage, place: str) -> CiRegistryError:
        """Push, and return what that fails with."""
        try:
            self.push(image, place)
        except CiRegistryError as error:
            return error
        raise AssertionError(f"pushing to {place} did not fail")

    def copy(self, source: str, place: str, *more: str, dry_run: bool = False) -> CopyReport:
        """Copy to one or more places; raises what the run failed with."""
        start = self.places.parse(source)
        landings = [Landing(found, (found.tag or "latest",)) for found in map(self.places.parse, (place, *more))]
        with CopyJob(self.places, dry_run=dry_run) as job:
            job.add(CopyOrder(start, landings))
            report, failure = job.carry_out()
        if failure is not None:
            raise failure
        return report

    def pull(self, place: str) -> str:
        """Pull into a layout, check every byte there, and return the digest."""
        layout = self._new_folder()
        self.copy(place, f"oci:{layout}:1")
        found = validate_layout(layout, "1")
        assert found.problems == []
        return found.root

    def round_trip(self, image: BuiltImage, place: str, judge: Sequence[str] = (), *, seen_as: str = "") -> None:
        """Push, list, pull and verify, and have skopeo read the same. `judge` are options for skopeo, `seen_as` what it
        calls the place where that is not the target's own name for it."""
        self.push(image, place)
        assert self.pull(place) == image.digest
        source, parsed = self.source(place), self.places.parse(place)
        assert isinstance(source, Lister)
        assert parsed.tag in source.tags()
        whole = verify(source, parsed.version, self.places.limiter, self.places.cancel, deep=True)
        assert (whole.problems, whole.root.digest) == ([], image.digest)
        seen = f"docker://{seen_as or source.location.name}:{parsed.tag}"
        assert _digest(skopeo_raw(seen, *judge)) == image.digest
        copied = self._new_folder()
        options = [f"--src-{option.removeprefix('--')}" for option in judge]  # written as --name=value
        skopeo("copy", "--all", "--src-tls-verify=false", *options, seen, f"oci:{copied}:1")
        assert validate_layout(copied, "1").problems == []

    def _new_folder(self) -> Path:
        self._count += 1
        return self.folder / f"layout-{self._count}"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
