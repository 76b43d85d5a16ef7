"""Every failure that a user can cause, as one tree; each class owns an exit code.

    CiRegistryError                     1   a bug in this program, unless a subclass says otherwise
    ├── UsageError                      2   wrong usage, configuration, or an input that can't be read
    │   ├── ConfigError                     in ci-registry.yaml
    │   ├── ReferenceSyntaxError            an image reference that does not parse
    │   └── InputFileError                  a plan, archive or layout that can't be understood
    ├── AccessError                     3   not authenticated or not permitted
    ├── NotFoundError                   4   image, repository or target not found
    ├── ConflictError                   5   an immutable tag holds another digest; a plan no longer fits
    ├── RefusedError                    6   a policy said no
    │   ├── IntegrityError                  bytes that are not what their digest says
    │   └── CheckFailedError                `verify` or `diff --check` found something
    ├── RemoteError                     7   registry, network, daemon or disk failed after retries
    │   ├── TransportError                  the bytes could not be exchanged at all
    │   ├── TlsError                        the handshake failed; retrying does not help but the code is 7
    │   └── StorageError                    a local disk
    ├── PartialError                    8   at least one tag moved and at least one did not
    ├── BuildFailedError                9   a Jenkins build that was waited for did not succeed
    └── Interrupted                     130, 143

A message says what was attempted on what and what came back; `hint` says what to change. `side` is "source"
or "target" when a copy knows which of the two failed; `target` names the configured target.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "AccessError",
    "BuildFailedError",
    "CheckFailedError",
    "CiRegistryError",
    "ConfigError",
    "ConflictError",
    "InputFileError",
    "IntegrityError",
    "Interrupted",
    "NotFoundError",
    "PartialError",
    "ReferenceSyntaxError",
    "RefusedError",
    "RemoteError",
    "StorageError",
    "TlsError",
    "TransportError",
    "UsageError",
    "smallest_exit_code",
]

Side = Literal["source", "target"]


class CiRegistryError(Exception):
    """Base of the tree. `str()` is the message; `sentence()` adds the hint."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", side: Side | None = None, target: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.side = side
        self.target = target

    @property
    def code(self) -> str:
        """Stable machine word for the class, such as `not-found`."""
        name = type(self).__name__.removesuffix("Error")
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")

    def sentence(self) -> str:
        """One full sentence for the last line of stderr: what was attempted, what came back, what to change."""
        text = " ".join(self.message.split())
        if self.side and not text.startswith(self.side):
            text = f"{self.side}: {text}"
        if self.hint:
            text = f"{text.rstrip('.')}; {' '.join(self.hint.split())}"
        return text if text.endswith((".", "!", "?")) else text + "."

    def on(self, side: Side, target: str | None = None) -> CiRegistryError:
        """Say which side of a copy failed, unless that is already known."""
        if self.side is None:
            self.side = side
        if self.target is None:
            self.target = target
        return self


class UsageError(CiRegistryError):
    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is wrong; `path` is the dotted place in it, such as `targets.dev.url`."""

    def __init__(self, message: str, *, path: str = "", hint: str = "", target: str | None = None) -> None:
        super().__init__(message, hint=hint, target=target)
        self.path = path


class ReferenceSyntaxError(UsageError):
    pass


class InputFileError(UsageError):
    pass


class AccessError(CiRegistryError):
    exit_code = 3


class NotFoundError(CiRegistryError):
    exit_code = 4


class ConflictError(CiRegistryError):
    exit_code = 5


class RefusedError(CiRegistryError):
    exit_code = 6


class IntegrityError(RefusedError):
    pass


class CheckFailedError(RefusedError):
    pass


class RemoteError(CiRegistryError):
    exit_code = 7


class TransportError(RemoteError):
    """The connection failed. `retryable` says whether the same request may be sent again."""

    retryable = True


class TlsError(RemoteError):
    """The handshake failed. `about` says over what: "certificate", "client certificate", or "" for anything else."""

    about = ""


class StorageError(RemoteError):
    pass


class PartialError(CiRegistryError):
    exit_code = 8


class BuildFailedError(CiRegistryError):
    exit_code = 9


class Interrupted(CiRegistryError):  # noqa: N818 - an interruption is not an error of anybody's
    """SIGINT (130) or SIGTERM (143); everything open was closed and cancelled."""

    exit_code = 130

    def __init__(self, message: str = "interrupted", *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def smallest_exit_code(errors: list[CiRegistryError]) -> int:
    """The code of a run in which several things failed and nothing moved (design: the smallest)."""
    return min((error.exit_code for error in errors), default=0)
