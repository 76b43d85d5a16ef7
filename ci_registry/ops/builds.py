"""Builds from outside: start one, once, and follow it from the queue to its result."""

from __future__ import annotations

import codecs
import difflib
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..adapters.jenkins_answers import JobInfo, Started
from ..adapters.jenkins_server import JenkinsServer
from ..errors import (
    BuildFailedError,
    ConflictError,
    Interrupted,
    NotFoundError,
    RemoteError,
    TransportError,
    UsageError,
)
from ..transport.retry import Cancel
from .jenkins_results import BuildReport

if TYPE_CHECKING:
    from ..adapters.jenkins_answers import Build

__all__ = ["REQUEST_ID", "build_error", "trigger"]

T = TypeVar("T")

REQUEST_ID = "CI_REGISTRY_REQUEST_ID"
"""A parameter by which a build that was started can be recognised, when its job declares it."""

_PATIENCE_SECONDS = 600.0  # how long a server may be away while its build is waited for, as in a restart


def trigger(
    server: JenkinsServer,
    job: str,
    parameters: Mapping[str, str],
    *,
    cancel: Cancel,
    wait: bool = True,
    stop_on_interrupt: bool = False,
    timeout_seconds: float | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_text: Callable[[str], None] = lambda _: None,
) -> BuildReport:
    """Start a build, once, and unless told otherwise wait for it: its log goes to `on_text` as it comes.

    Raises BuildFailedError when it never ran; how it ended is in the report, see `build_error`.
    """
    info = _startable(server, job)
    _check_parameters(info, parameters)
    values = dict(parameters)
    if REQUEST_ID in info.parameters:
        values.setdefault(REQUEST_ID, str(uuid.uuid4()))
    started = _start_once(server, info, values, cancel)
    if started.was_queued:
        say(f"an equal build of {job} waited in the queue already (item {started.queue_number})")
    report = BuildReport(job=job, queue=started.queue_number, build=None, url=info.url, result=None)
    if not wait:
        return report
    following = _Following(server, job, started.queue_number, cancel, timeout_seconds, say)
    try:
        return _followed(following, report, on_text)
    except Interrupted:
        if stop_on_interrupt and following.number is not None:
            server.stop(job, following.number)
        raise


def _startable(server: JenkinsServer, job: str) -> JobInfo:
    info = server.job(job)
    if info is None:
        raise NotFoundError(f"starting {job} on {server.url}: there is no such job", hint="or this user may not see it")
    if info.is_folder:
        raise UsageError(
            f"starting {job} on {server.url}: it holds jobs and has no builds of its own",
            hint=f"name one in it, such as {job}/main",
        )
    if not info.buildable:
        raise ConflictError(f"starting {job} on {server.url}: the job is disabled", hint="enable it first")
    return info


def _check_parameters(info: JobInfo, given: Iterable[str]) -> None:
    """Jenkins ignores parameters that a job does not declare, so a misspelt one would start something else."""
    for name in given:
        if name not in info.parameters:
            near = difflib.get_close_matches(name, info.parameters, 1)
            known = ", ".join(info.parameters) or "none"
            raise UsageError(
                f"job {info.name} has no parameter {name}",
                hint=f"did you mean {near[0]}?" if near else f"it has: {known}",
            )


def _start_once(server: JenkinsServer, info: JobInfo, values: dict[str, str], cancel: Cancel) -> Started:
    """Start it. When the answer got lost, look for the build before anything is sent again."""
    try:
        return server.start(info.name, values, parameterised=bool(info.parameters))
    except TransportError as error:
        if REQUEST_ID not in values:
            error.hint = f"whether it was started is not known: look at {info.url} before starting it again"
            raise
    patience = _Patience(cancel, lambda _text: None)
    found = patience.until(lambda: _find_started(server, info.name, values[REQUEST_ID]))
    return found or server.start(info.name, values, parameterised=True)


def _find_started(server: JenkinsServer, job: str, request_id: str) -> Started | None:
    queued = server.find_queued(REQUEST_ID, request_id)
    if queued is not None:
        return Started(queued, False)
    number = server.find_build(job, parameter=(REQUEST_ID, request_id))
    if number is None:
        return None
    return Started(server.build(job, number).queue_number, False)


class _Patience:
    """Repeats reading while the server is away, as it is for minutes in a restart."""

    def __init__(self, cancel: Cancel, say: Callable[[str], None]) -> None:
        self._cancel = cancel
        self._say = say

    def until(self, read: Callable[[], T]) -> T:
        gone_since: float | None = None
        while True:
            try:
                return read()
            except RemoteError as error:
                now = time.monotonic()
                if gone_since is None:
                    gone_since = now
                    self._say(f"{error.message}; trying again")
                if now - gone_since > _PATIENCE_SECONDS:
                    raise
            self._cancel.sleep(min(0.5 + (now - gone_since) / 4, 15.0))


class _Following:
    """A build from its place in the queue to its result."""

    def __init__(
        self,
        server: JenkinsServer,
        job: str,
        queue_number: int,
        cancel: Cancel,
        timeout_seconds: float | None,
        say: Callable[[str], None],
    ) -> None:
        self.number: int | None = None
        self.say = say
        self._server, self._job, self._queue_number = server, job, queue_number
        self._cancel = cancel
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._patience = _Patience(cancel, say)
        self._pause = 0.2

    def pause(self) -> None:
        """Wait before the next look, longer each time nothing has happened; raises RemoteError when time is up."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            what = f"build {self.number}" if self.number else f"queue item {self._queue_number}"
            raise RemoteError(
                f"waiting for {what} of {self._job} on {self._server.url}: it has not ended in the given time",
                hint="it goes on without us; give a longer --timeout",
            )
        self._cancel.sleep(self._pause)
        self._pause = min(self._pause * 1.5, 5.0)

    def start(self) -> int:
        """Wait in the queue; the build's number."""
        why = ""
        while True:
            item = self._patience.until(lambda: self._server.queue_item(self._queue_number))
            number = item.build if item else self._forgotten()
            if number is not None:
                self.number, self._pause = number, 0.2
                return number
            if item is not None and item.is_cancelled:
                raise BuildFailedError(
                    f"{self._job} on {self._server.url} was cancelled while it waited in the queue",
                    hint="start it again",
                )
            if item is not None and item.why and item.why != why:
                why = item.why
                self.say(f"{self._job} waits: {why}")
            self.pause()

    def _forgotten(self) -> int:
        """The build of an item that Jenkins has dropped from its queue."""
        found = self._patience.until(lambda: self._server.find_build(self._job, queue_number=self._queue_number))
        if found is None:
            raise BuildFailedError(
                f"queue item {self._queue_number} of {self._job} on {self._server.url} is gone and became no build",
                hint="start it again",
            )
        return found

    def log(self, number: int, on_text: Callable[[str], None]) -> None:
        """Hand over the log until the build has ended."""
        decoder, start, more = codecs.getincrementaldecoder("utf-8")("replace"), 0, True
        while more:
            piece = self._patience.until(partial(self._server.console, self._job, number, start))
            if piece.content:
                on_text(decoder.decode(piece.content))
                self._pause = 0.2
            start, more = piece.next_start, piece.more
            if more:
                self.pause()
        on_text(decoder.decode(b"", final=True))

    def result(self, number: int) -> Build:
        """The build with its result, which is set a moment after the log is complete."""
        while True:
            build = self._patience.until(lambda: self._server.build(self._job, number))
            if build.result is not None and not build.is_running:
                return build
            self.pause()


def _followed(following: _Following, report: BuildReport, on_text: Callable[[str], None]) -> BuildReport:
    number = following.start()
    following.say(f"build {number} of {report.job} runs")
    following.log(number, on_text)
    build = following.result(number)
    return BuildReport(
        job=report.job,
        queue=report.queue,
        build=number,
        url=build.url,
        result=build.result,
        description=build.description,
    )


def build_error(report: BuildReport) -> BuildFailedError | None:
    """The error that a build stands for which was waited for and ended in anything but SUCCESS."""
    if report.result in (None, "SUCCESS"):
        return None
    return BuildFailedError(f"build {report.url} ended with {report.result}", hint="its log says why")
