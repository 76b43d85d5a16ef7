"""Looks for secrets where they must not be: in output, in files, and in the arguments of running programs.

    search = LeakSearch(password)
    with search.watching_arguments():
        done = subprocess.run(...)
    search.look_at("stdout", done.stdout)
    search.look_into(folder)
    assert search.leaks == []

Knows the secret as it is, in base64 at any offset (as in an Authorization header), URL-encoded, and escaped for
JSON. It finds its forms by decoding what it sees; it shares no code with the redaction that it checks.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote_to_bytes

__all__ = ["LeakSearch"]

_BASE64_WORD = re.compile(rb"[A-Za-z0-9+/_-]{6,}")
_SAMPLE_SECONDS = 0.01


class LeakSearch:
    """Collects in `leaks` one phrase for each place where a secret was found."""

    def __init__(self, *secrets: str) -> None:
        assert all(len(secret) >= 8 for secret in secrets), "too short to be told from other text"
        self._secrets = [secret.encode("utf-8") for secret in secrets]
        self._escaped = [json.dumps(secret)[1:-1].encode("ascii") for secret in secrets]
        self.leaks: list[str] = []

    def look_at(self, where: str, content: str | bytes | None) -> None:
        """Search one piece of output."""
        raw = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content or b""
        for form in self._forms_in(raw):
            leak = f"{where}: {form}"
            if leak not in self.leaks:
                self.leaks.append(leak)

    def look_into(self, folder: Path) -> None:
        """Search the names and contents of all files under a folder, hidden ones included."""
        for path in sorted(folder.rglob("*")):
            self.look_at(f"name of {path}", path.name)
            if path.is_file() and not path.is_symlink():
                self.look_at(str(path), path.read_bytes())

    @contextmanager
    def watching_arguments(self) -> Iterator[None]:
        """Sample the arguments of every process of this machine for as long as the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _watch(self, stop: threading.Event) -> None:
        seen: set[bytes] = set()
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                arguments = _arguments(process)
                if arguments not in seen:
                    seen.add(arguments)
                    self.look_at(f"arguments of process {process.name}", arguments)
            stop.wait(_SAMPLE_SECONDS)

    def _forms_in(self, raw: bytes) -> Iterator[str]:
        if any(secret in raw for secret in self._secrets):
            yield "as it is"
        if any(secret in raw for secret in self._escaped if secret not in self._secrets):
            yield "escaped for JSON"
        if b"%" in raw and any(
            _new(secret, unquote_to_bytes(raw.replace(b"+", b" ")), raw) for secret in self._secrets
        ):
            yield "URL-encoded"
        if any(secret in decoded for decoded in _decoded(raw) for secret in self._secrets):
            yield "in base64"


def _new(secret: bytes, decoded: bytes, raw: bytes) -> bool:
    return secret in decoded and secret not in raw


def _decoded(raw: bytes) -> Iterator[bytes]:
    for match in _BASE64_WORD.finditer(raw):
        word = match[0].replace(b"-", b"+").replace(b"_", b"/")
        for offset in range(4):
            part = word[offset:]
            try:
                yield base64.b64decode(part[: len(part) // 4 * 4] + _padded(part[len(part) // 4 * 4 :]))
            except binascii.Error:
                continue


def _padded(rest: bytes) -> bytes:
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _arguments(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # it ended
