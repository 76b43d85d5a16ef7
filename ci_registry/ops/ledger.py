"""What layers and images became, remembered between runs: a small JSON file in the user's cache directory.

`{"version": 1, "known": {KEY: [{"digest", "size", "media_type", "compressor", "where": [[STORE, REPOSITORY]]}]}}`.
A key is the diffID of a layer or the id of an image; the most recent key stands last, the best candidate first. It is
a memory and no record: what it says is checked at the registry before it is relied on, so a lost or damaged file
costs time and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CiRegistryError
from ..model.descriptor import Descriptor, Digest
from ..targets.prepared import KnownBlob
from ..user_folders import cache_file

__all__ = ["Ledger", "ledger_path"]

VERSION = 1
_KEYS = 3000
_CANDIDATES = 6
_PLACES = 8
_LOCK_SECONDS = 5.0
_FILE_LIMIT = 32 * 1024 * 1024

_Entries = dict[str, list[dict[str, Any]]]


def ledger_path() -> Path:
    """Where the file lies for this user."""
    return cache_file("layers.json", os.environ)


class Ledger:
    """Implements `targets.prepared.LayerMemory`. Never raises: trouble with the file goes to `warn`, once.

    `read_only` is for dry runs.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda _: None, *, read_only: bool = False) -> None:
        self.path, self._warn, self._read_only = path, warn, read_only
        self._warned = False

    def known(self, keys: Collection[Digest]) -> Mapping[Digest, Sequence[KnownBlob]]:
        """What is known for these keys; nothing for those that are not in the file."""
        entries = self._read()
        return {key: [blob for entry in entries.get(key, ()) if (blob := _blob(entry))] for key in keys}

    def remember(self, found: Mapping[Digest, Sequence[KnownBlob]]) -> None:
        """Add what was found to what other runs wrote meanwhile; the newest keys stay when there are too many."""
        if self._read_only or not found:
            return
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self.path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                self._write(_merged(self._read(), found))
        except Timeout:
            self._trouble("it stayed locked by another run")
        except OSError as error:
            self._trouble(error.strerror or str(error))

    def _read(self) -> _Entries:
        try:
            if self.path.stat().st_size > _FILE_LIMIT:
                self._trouble("it is far too big")
                return {}
            return _entries(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._trouble(error.strerror or str(error))
        except (ValueError, RecursionError):
            self._trouble("it is damaged, and taken as empty")
        return {}

    def _write(self, entries: _Entries) -> None:
        content = json.dumps({"version": VERSION, "known": entries}, separators=(",", ":")).encode()
        import tempfile

        fd, temporary = tempfile.mkstemp(prefix=".layers-", dir=self.path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _trouble(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"the memory of compressed layers can't be used ({self.path}): {what}")


def _entries(document: Any) -> _Entries:
    if not isinstance(document, dict) or not isinstance(document.get("known"), dict):
        raise ValueError("no ledger")
    if document.get("version") != VERSION:
        return {}  # another version's; its candidates can all be found again
    return {
        str(key): [entry for entry in entries if isinstance(entry, dict)]
        for key, entries in document["known"].items()
        if isinstance(entries, list)
    }


def _blob(entry: Mapping[str, Any]) -> KnownBlob | None:
    try:
        descriptor = Descriptor(str(entry["media_type"]), Digest(entry["digest"]), int(entry["size"]))
        where = tuple((str(store), str(repository)) for store, repository in entry.get("where", ()))
    except (KeyError, TypeError, ValueError, CiRegistryError):
        return None
    return KnownBlob(descriptor, str(entry.get("compressor") or ""), where)


def _merged(entries: _Entries, found: Mapping[Digest, Sequence[KnownBlob]]) -> _Entries:
    for key, blobs in found.items():
        old = [blob for entry in entries.pop(key, ()) if (blob := _blob(entry))]
        entries[key] = [_entry(blob) for blob in _best(blobs, old)]
    return dict(list(entries.items())[-_KEYS:])


def _best(new: Sequence[KnownBlob], old: Sequence[KnownBlob]) -> list[KnownBlob]:
    """One candidate per digest, the new ones first, each with all the places that are known of it."""
    places: dict[Digest, list[tuple[str, str]]] = {}
    first: dict[Digest, KnownBlob] = {}
    for blob in (*new, *old):
        first.setdefault(blob.descriptor.digest, blob)
        places.setdefault(blob.descriptor.digest, []).extend(blob.where)
    return [
        KnownBlob(blob.descriptor, blob.compressor, tuple(dict.fromkeys(places[digest]))[:_PLACES])
        for digest, blob in list(first.items())[:_CANDIDATES]
    ]


def _entry(blob: KnownBlob) -> dict[str, Any]:
    return {
        "digest": str(blob.descriptor.digest),
        "size": blob.descriptor.size,
        "media_type": blob.descriptor.media_type,
        "compressor": blob.compressor,
        "where": [list(place) for place in blob.where],
    }
