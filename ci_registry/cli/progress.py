"""How far a run is: a live line on a terminal, elsewhere one plain line at most every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine.events import Counts, Event
from ..reports.text import size_text
from .output import Output

__all__ = ["Progress", "progress"]

PLAIN_SECONDS = 10.0


class Progress:
    """Listens to a run's events."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._counts = Counts()
        self._started = time.monotonic()

    def on_event(self, event: Event) -> None:
        self._counts.add(event)
        if self._output.is_verbose and event.kind != "bytes":
            self._output.detail(_event_text(event))
        if event.kind == "warning":
            self._output.warn(event.text)

    def line(self) -> str:
        """What was done so far, in one line."""
        counts = self._counts
        seconds = max(time.monotonic() - self._started, 0.001)
        parts = [f"{counts.blobs_copied} blobs copied ({size_text(counts.bytes_read)} read)"]
        if counts.blobs_mounted:
            parts.append(f"{counts.blobs_mounted} mounted")
        if counts.blobs_present:
            parts.append(f"{counts.blobs_present} already there")
        parts.append(f"{counts.tags} tags set")
        return f"{', '.join(parts)}, {size_text(int(counts.bytes_read / seconds))}/s"


@contextmanager
def progress(output: Output) -> Iterator[Progress]:
    """Show progress on stderr for as long as the block runs."""
    shown = Progress(output)
    if output.is_quiet:
        yield shown
    elif sys.stderr.isatty():
        with _live(shown):
            yield shown
    else:
        with _plain(shown, output):
            yield shown


@contextmanager
def _plain(shown: Progress, output: Output) -> Iterator[None]:
    over = threading.Event()

    def tell() -> None:
        while not over.wait(PLAIN_SECONDS):
            output.say(shown.line())

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


@contextmanager
def _live(shown: Progress) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    class Line:
        spinner = Spinner("dots")

        def __rich__(self) -> Spinner:
            self.spinner.update(text=Text(shown.line()))
            return self.spinner

    with Live(Line(), console=Console(stderr=True), refresh_per_second=8, transient=True):
        yield


def _event_text(event: Event) -> str:
    what = f"{event.where}:{event.tag}" if event.tag else event.where
    digest = f" {event.digest}" if event.digest else ""
    return f"{event.kind} {what}{digest}" + (f" ({size_text(event.count)})" if event.count else "")
