"""The Python API: what the commands do, as methods.

    import ci_registry
    session = ci_registry.Session.from_file()
    report = session.push("docker-daemon:app:1.2", targets=["hub"], on_event=print)
    print(report.images[0].digest)

Methods return the same typed results that `--output json` prints, and raise the errors of `ci_registry.errors`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .engine.events import Event
from .engine.plan import Plan, dump_plan, plan_digest
from .engine.policy import refusal
from .engine.receipt import Receipt
from .model.descriptor import Platform
from .ops.config import Config, load
from .ops.copying import CopyJob, CopyOrder, Landing, landing_of, landings
from .ops.looking import inspect, list_place
from .ops.looking import verify as verify_image
from .ops.places import Place, Places
from .ops.promoting import PromotionOrder, apply_plan, make_plan
from .ops.results import CopyReport, ImageReport, RepositoryList, TagList, VerifyReport
from .ops.sources import open_for_looking, source_path
from .ops.state import MemoryJournal

__all__ = ["Session"]

OnEvent = Callable[[Event], None]


def _ignore(_event: Event) -> None:
    pass


class Session:
    """A configuration with its opened targets, connections and tokens. Use it in a `with` block, or `close()` it."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.places = Places(config or Config(environ=environ), environ, notify=notify)

    @classmethod
    def from_file(cls, path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Session:
        """A session from `path`, or from the configuration that the command line would find here."""
        environ = os.environ if environ is None else environ
        return cls(load(Path(path) if path else None, environ, Path.cwd()), environ=environ)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.places.close()

    def cancel(self) -> None:
        """Stop what another thread is doing with this session; it raises `Interrupted` there."""
        self.places.cancel.set()

    # -- copies --------------------------------------------------------------------------------------------------

    def push(
        self,
        source: str,
        targets: Sequence[str],
        *,
        repository: str = "",
        tags: Sequence[str] = (),
        platform: str | None = None,
        referrers: bool = False,
        dry_run: bool = False,
        on_event: OnEvent = _ignore,
    ) -> CopyReport:
        """Copy an image to one or more targets. A bare `app:1.2` is an image of the local docker daemon."""
        place = self.places.parse(source, default="docker-daemon")
        wanted = tags or ((place.tag,) if place.tag else () if place.digest else ("latest",))
        landed = landings(self.places, source_path(place), targets, wanted, repository)
        return self._copy(place, landed, platform, referrers, dry_run, on_event)

    def copy(
        self,
        source: str,
        destination: str,
        *,
        platform: str | None = None,
        referrers: bool = False,
        dry_run: bool = False,
        on_event: OnEvent = _ignore,
    ) -> CopyReport:
        """Copy from any place to any place."""
        place = self.places.parse(source)
        landed = [landing_of(place, self.places.parse(destination))]
        return self._copy(place, landed, platform, referrers, dry_run, on_event)

    def tag(self, place: str, tags: Sequence[str], *, dry_run: bool = False) -> CopyReport:
        """Add tags to an image where it is."""
        parsed = self.places.parse(place)
        landing = Landing(Place(parsed.transport, parsed.where, parsed.repository), tuple(tags))
        return self._copy(parsed, [landing], None, False, dry_run, _ignore)

    def _copy(
        self,
        place: Place,
        landed: Sequence[Landing],
        platform: str | None,
        referrers: bool,
        dry_run: bool,
        on_event: OnEvent,
    ) -> CopyReport:
        wanted = Platform.parse(platform) if platform else None
        with CopyJob(self.places, dry_run=dry_run, on_event=on_event) as job:
            job.add(CopyOrder(place, landed, wanted, referrers))
            report, error = job.carry_out()
        if error is not None:
            raise error
        return report

    # -- promotion -----------------------------------------------------------------------------------------------

    def plan(
        self,
        *images: str,
        source: str | None = None,
        targets: Sequence[str] = (),
        promotion: str | None = None,
        tags: Sequence[str] = (),
    ) -> Plan:
        """What a promotion would do, as data. Refusals of policies are in it (`plan.refusals`), not raised."""
        return make_plan(self.places, PromotionOrder(images, source, targets, tags, promotion))

    def apply(self, plan: Plan, *, approved_by: str | None = None, on_event: OnEvent = _ignore) -> Receipt:
        """Carry out a plan; raises what it failed with, and `RefusedError` when a policy is against it."""
        refused = refusal(plan)
        if refused is not None:
            raise refused
        digest = plan_digest(dump_plan(plan))
        receipt, _, error = apply_plan(
            self.places, plan, digest, MemoryJournal(), approved_by=approved_by, on_event=on_event
        )
        if error is not None:
            raise error
        return receipt

    def promote(
        self,
        *images: str,
        source: str | None = None,
        targets: Sequence[str] = (),
        promotion: str | None = None,
        tags: Sequence[str] = (),
        approved_by: str | None = None,
        on_event: OnEvent = _ignore,
    ) -> Receipt:
        """Plan and apply in one go: `session.promote("team/app:1.2", source="dev", targets=["prod"])`."""
        plan = self.plan(*images, source=source, targets=targets, promotion=promotion, tags=tags)
        return self.apply(plan, approved_by=approved_by, on_event=on_event)

    # -- looking -------------------------------------------------------------------------------------------------

    def inspect(self, place: str, *, platform: str | None = None, referrers: bool = False) -> ImageReport:
        """What an image is: digest, platforms, labels, parts."""
        parsed = self.places.parse(place)
        with open_for_looking(self.places, parsed) as (source, version):
            return inspect(source, version, str(parsed), platform=platform, referrers=referrers)

    def list(self, place: str) -> RepositoryList | TagList:
        """The repositories of a target, or the tags of a repository."""
        return list_place(self.places, place)

    def verify(self, place: str, *, deep: bool = False) -> VerifyReport:
        """Check that all parts of an image are there; problems are in the report, not raised."""
        parsed = self.places.parse(place)
        with open_for_looking(self.places, parsed) as (source, version):
            report, _ = verify_image(self.places, str(parsed), source, version, deep=deep)
        return report
