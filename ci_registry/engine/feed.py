"""One destination of a blob on its way, and what is known of its upload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from ..errors import CiRegistryError, TransportError
from ..targets.base import Session, Target, Writer
from ..transport.retry import Attempts

__all__ = ["Beside", "Feed"]


class Beside:
    """Something done in a thread of its own. Whoever waits for it gets what it raised."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._action()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._raised = error

    def wait_for(self, seconds: float | None = None) -> bool:
        """Whether it is done within that time; None waits for ever."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._raised is not None:
            raise self._raised
        return True


def _nobody(_: Feed) -> None:
    pass


def _not_wanted() -> bool:
    return False


class Feed(Struct, eq=False):
    """A destination of a transfer, and how it went: `outcome` or `error` is set at the end, and `on_end` told, once.

    `is_wanted` says whether anybody still waits for it.
    """

    target: Target
    mount_from: Sequence[str] = ()
    writer: Writer | None = None
    session: Session | None = None
    outcome: str = ""
    error: CiRegistryError | None = None
    on_end: Callable[[Feed], None] = _nobody
    is_wanted: Callable[[], bool] = lambda: True
    reached: int = 0
    """Up to which byte the destination had it when its writer was opened."""
    broke: TransportError | None = None
    """What the last break was, while there is still time to try again."""
    broken: Writer | None = None
    """The writer that broke: dead, but its upload may be gone on with, or cancelled."""
    was_ending: bool = False
    """All bytes were sent when it broke, so that the blob may be there."""
    restarted: bool = False
    is_remembered: bool = False
    """A journal has its session."""
    attempts: Attempts | None = None
    beside: Beside | None = None
    """What is under way for this feed alone while the others went on."""
    _abandoned: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_open(self) -> bool:
        return not self.outcome and self.error is None

    def tell_end(self) -> None:
        """It is over. Whom it tells is forgotten: who looks after a feed also holds it, and there are thousands."""
        tell, self.on_end, self.is_wanted = self.on_end, _nobody, _not_wanted
        tell(self)

    def take(self, writer: Writer) -> bool:
        """Have a writer; False, and the upload is cancelled, when nobody waits for it any more."""
        with self._lock:
            if not self._abandoned:
                self.writer, self.broken, self.reached = writer, None, writer.offset
                self.was_ending = False
                return True
        writer.abort()
        return False

    def lose_writer(self, error: TransportError) -> None:
        """The writer broke; its session is kept to go on with."""
        self.broke = error
        error.on("target", self.target.location.name)
        with self._lock:
            if self.writer is not None:
                self.session = self.writer.session
                self.writer, self.broken = None, self.writer

    def forget_session(self) -> None:
        """Begin the upload again from its first byte."""
        self.session, self.reached, self.was_ending = None, 0, False
        self.drop()

    def abandon(self) -> None:
        """Cancel the upload, also one that is being opened at this moment."""
        with self._lock:
            self._abandoned = True
        self.drop()

    def drop(self) -> None:
        with self._lock:
            writer, self.writer, self.broken = self.writer or self.broken, None, None
        if writer is not None:
            writer.abort()
