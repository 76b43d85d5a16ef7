"""What a kind finds out about its own registry, for `doctor` to show beside its other checks."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Finding", "Level"]

Level = Literal["ok", "note", "problem", "unknown"]


class Finding(Struct, frozen=True):
    """One thing that was looked at. `about` is a stable word such as `eula`; `cure` says what to do about a problem.

    A "note" works but may surprise; "unknown" could not be found out, and `message` says why.
    """

    about: str
    level: Level
    message: str
    cure: str = ""
