"""A word for what files hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .files import PlannedFile

__all__ = ["content_word"]


def content_word(files: Iterable[PlannedFile]) -> str:
    """Changes when any of the files does, so that a container that mounts them is made anew."""
    whole = hashlib.sha256()
    for file in sorted(files, key=lambda each: each.path):
        whole.update(f"{file.path} {len(file.content)}\n".encode() + file.content)
    return whole.hexdigest()[:16]
