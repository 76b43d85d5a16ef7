"""Docker's credential helper protocol, as its client: the programs `docker-credential-NAME`.

A helper is run with an action as its argument; it reads from stdin, prints its answer, or its error message, on
stdout and says with its exit status which of the two it was
(https://github.com/docker/docker-credential-helpers). Since both come on stdout, and a broken helper may print
anything, what it printed is never quoted: only phrases that are known to hold no secret are named.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from ..errors import AccessError, ConfigError
from ..redaction import shown
from .chain import Credential
from .environment import IDENTITY_TOKEN_USER

if TYPE_CHECKING:
    import subprocess

__all__ = ["NOT_FOUND", "OURSELVES", "Helper", "credential_of", "inside_helper", "protocol_pair"]

NOT_FOUND = "credentials not found in native keychain"
OURSELVES = "ci-registry"
_GUARD = "CI_REGISTRY_INSIDE_HELPER"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LARGEST_ANSWER = 1024 * 1024  # bytes
_KNOWN_REASONS = (
    "Cannot autolaunch D-Bus",
    "The name org.freedesktop.secrets was not provided by any .service files",
    "org.freedesktop.DBus.Error",
    "pass not initialized",
    "pass store is uninitialized",
    "gpg: decryption failed",
    "not implemented",
    "no basic auth credentials",
    "NoCredentialProviders",
    "ExpiredToken",
    "AccessDenied",
    "no such host",
    "connection refused",
    "permission denied",
)
_NOT_FOUND_MESSAGES = frozenset({NOT_FOUND, "credentials not found", "no credentials found"})


def inside_helper(environ: Mapping[str, str]) -> bool:
    """Did a ci_registry that was asking a helper start this process? Then it must ask no helper in turn."""
    return environ.get(_GUARD) == "1"


def credential_of(username: str, secret: str, source: str) -> Credential:
    """The credential that a pair of the protocol stands for; the user `<token>` marks an identity token."""
    if username == IDENTITY_TOKEN_USER:
        return Credential("", "", identity_token=secret, source=source)
    return Credential(username, secret, source=source)


def protocol_pair(credential: Credential) -> tuple[str, str] | None:
    """User name and secret as the protocol carries them; None for what it can't carry."""
    if credential.identity_token:
        return IDENTITY_TOKEN_USER, credential.identity_token
    if credential.username and credential.password:
        return credential.username, credential.password
    return None


class Helper(Struct, frozen=True):
    """One helper program. `place` says where it is configured, for messages."""

    name: str
    place: str
    environ: Mapping[str, str]
    time_limit_seconds: float = 10.0

    def __repr__(self) -> str:
        return shown(self, "name", "place")

    @property
    def program(self) -> str:
        return f"docker-credential-{self.name}"

    def get(self, server: str) -> Credential | None:
        """The credential for a server, written as the helper's store has it, or None.

        Raises ConfigError if the program is missing or can't be started, AccessError if it fails, answers with
        something else than the protocol's JSON, or takes longer than the time limit.
        """
        status, answer = self._run("get", server, server)
        if status != 0:
            if _is_not_found(answer):
                return None
            raise self._failure("get", server, f"it failed with exit status {status}{_known_reason(answer)}")
        fields = self._parse(server, answer)
        username, secret = fields.get("Username", ""), fields.get("Secret", "")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._failure("get", server, "its Username or Secret is not a string")
        if not username and not secret:
            return None  # docker-credential-pass says so, with exit status 0
        if not username or not secret:
            raise self._failure("get", server, f"its answer has no {'Secret' if username else 'Username'}")
        return credential_of(username, secret, self.place)

    def store(self, server: str, username: str, secret: str) -> None:
        """Put a pair into the helper's store. Raises as `get` does."""
        body = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
        status, answer = self._run("store", server, body)
        if status != 0:
            raise self._failure("store", server, f"it failed with exit status {status}{_known_reason(answer)}")

    def erase(self, server: str) -> None:
        """Remove what the helper's store has for a server; nothing there is no error. Raises as `get` does."""
        status, answer = self._run("erase", server, server)
        if status != 0 and not _is_not_found(answer):
            raise self._failure("erase", server, f"it failed with exit status {status}{_known_reason(answer)}")

    def _parse(self, server: str, answer: bytes) -> dict[str, object]:
        try:
            fields = json.loads(answer)
        except ValueError:
            fields = None  # and no `from`: the exception would carry the answer along
        if not isinstance(fields, dict):
            raise self._failure("get", server, "its answer is not the JSON object of the helper protocol")
        return fields

    def _failure(self, action: str, server: str, what: str) -> AccessError:
        command = f"{self.program} list" if action == "store" else f"echo {server} | {self.program} {action}"
        return AccessError(
            f"asking the credential helper {self.program} ({self.place}) to {action} the credential of {server}:"
            f" {what}",
            hint=f"see what `{command}` prints, or take the helper out of that file",
        )

    def _run(self, action: str, server: str, text: str) -> tuple[int, bytes]:
        """Exit status and stdout of the program, which is given `text` on stdin and none of our terminal."""
        process = self._start(action)
        try:
            answer = _exchange(process, text.encode("utf-8"), time.monotonic() + self.time_limit_seconds)
        except _TooSlow:
            what = f"it did not answer within {self.time_limit_seconds:g} seconds and was stopped"
            raise self._failure(action, server, what) from None
        finally:
            _stop(process)
        if len(answer) > _LARGEST_ANSWER:
            raise self._failure(action, server, "it printed more than 1 MiB")
        return process.returncode, answer

    def _start(self, action: str) -> subprocess.Popen[bytes]:
        import shutil
        import subprocess

        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"'{self.name}' ({self.place}) is no name of a credential helper")
        path = shutil.which(self.program, path=self.environ.get("PATH", os.defpath))
        if path is None:
            raise ConfigError(
                f"the credential helper {self.program} ({self.place}) is not on PATH",
                hint="install it, or take it out of that file",
            )
        try:
            return subprocess.Popen(
                [path, action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**self.environ, _GUARD: "1"},
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(
                f"starting the credential helper {path} ({self.place}) failed: {error.strerror}",
                hint="reinstall it, or take it out of that file",
            ) from error


class _TooSlow(Exception):  # noqa: N818 - internal; becomes an AccessError
    pass


def _exchange(process: subprocess.Popen[bytes], request: bytes, deadline: float) -> bytes:
    """Hand the program its request and read what it prints, up to one byte more than is allowed."""
    source, sink = process.stdout, process.stdin
    if source is None or sink is None:
        return b""
    _hand_over(sink, request)
    answer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while len(answer) <= _LARGEST_ANSWER:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise _TooSlow
            chunk = os.read(source.fileno(), 64 * 1024)
            if not chunk:
                _await_end(process, deadline)
                return answer
            answer += chunk
    return answer


def _hand_over(sink: IO[bytes], request: bytes) -> None:
    # A pipe takes 64 KiB at once, far more than any request, so this can't block; a program that doesn't read
    # its request (EPIPE) is judged by what it prints.
    os.set_blocking(sink.fileno(), False)
    with contextlib.suppress(BrokenPipeError, BlockingIOError):
        sink.write(request)
    sink.close()


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the exit status: a program may close its stdout and go on."""
    while process.poll() is None:
        if time.monotonic() >= deadline:
            raise _TooSlow
        time.sleep(0.005)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that was given up on, with whatever it started (an agent that asks for a passphrase, say)."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _is_not_found(answer: bytes) -> bool:
    return answer.decode("utf-8", "replace").strip().lower() in _NOT_FOUND_MESSAGES


def _known_reason(answer: bytes) -> str:
    text = answer[:4096].decode("utf-8", "replace").lower()
    found = next((reason for reason in _KNOWN_REASONS if reason.lower() in text), None)
    return f" and said '{found}'" if found else ""
