"""What `provision` answers."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["FileLine", "ProvisionReport"]


class FileLine(Struct, frozen=True, kw_only=True):
    """A file of the folder. `outcome`: created, changed, unchanged or removed; `content` only in a dry run, and never
    that of a secret."""

    path: str
    outcome: str
    mode: str
    content: str | None = None


class ProvisionReport(Struct, frozen=True, kw_only=True):
    """`provision`. `config`: inserted, unchanged, refused, or "" when nobody asked to write it."""

    role: str
    name: str
    folder: str
    dry_run: bool
    files: list[FileLine]
    actions: list[str]
    targets: str
    config: str = ""
    config_file: str | None = None
    username: str | None = None
    password_kept_in: str | None = None
    notes: list[str] = []
