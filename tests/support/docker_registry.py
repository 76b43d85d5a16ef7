"""Debian's docker-registry (distribution 2.8) as a test server."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .certificates import KeyPair
from .process import ServerProcess, find_program, free_port, temporary_directory, wait_until
from .token_server import TokenServer
from .wire import Wire

__all__ = ["AccessLogLine", "DockerRegistry", "htpasswd"]

_ACCESS = re.compile(r'^\S+ - \S* ?\[[^\]]*\] "([A-Z]+) (\S+) HTTP/[\d.]+" (\d+) (\d+)', re.MULTILINE)
_MARK = "settle-log"


@dataclass(frozen=True)
class AccessLogLine:
    """One request as the server logged it; `path` includes the query, `response_bytes` is its reply's body."""

    method: str
    path: str
    status: int
    response_bytes: int


def htpasswd(users: Mapping[str, str], bcrypt: bool = True) -> str:
    """The text of an htpasswd file; without `bcrypt` in the apr1 form (for nginx). Passwords go in by stdin."""
    lines = []
    for user, password in users.items():
        command = [find_program("htpasswd"), "-in", *(["-B", "-C", "4"] if bcrypt else ["-m"]), user]
        result = subprocess.run(command, input=password, capture_output=True, text=True, check=True, timeout=20)
        lines.append(result.stdout.strip())
    return "\n".join(lines) + "\n"


class DockerRegistry:
    """A running docker-registry on 127.0.0.1; a context manager. Everything is optional:

    `users`: Basic authentication. `token`: Bearer by that token server. `tls`: its certificate. `client_ca`: demand
    client certificates. `proxy`: pull-through cache of that URL. `allow_urls`: regular expressions of foreign layers'
    urls. `root`: storage to use (and keep) instead of a temporary one. `in_memory`: temporary storage on /dev/shm.
    `external_url`: what Location headers start with (http.host). `extra`: merged into the configuration, deep.
    """

    program = "docker-registry"

    def __init__(
        self,
        *,
        delete: bool = True,
        users: Mapping[str, str] | None = None,
        token: TokenServer | None = None,
        tls: KeyPair | None = None,
        client_ca: Path | None = None,
        proxy: str | None = None,
        readonly: bool = False,
        relative_urls: bool = False,
        external_url: str | None = None,
        allow_urls: Sequence[str] = (),
        root: Path | None = None,
        in_memory: bool = False,
        port: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self._plain = tls is None
        self._directory = temporary_directory(in_memory)
        self.root = root or self._directory / "storage"
        storage: dict[str, Any] = {
            "filesystem": {"rootdirectory": str(self.root), "maxthreads": 100},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}, "readonly": {"enabled": readonly}},
        }
        http: dict[str, Any] = {"addr": self.host, "secret": secrets.token_hex(8), "relativeurls": relative_urls}
        if external_url:
            http["host"] = external_url
        if tls:
            http["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
            if client_ca:
                http["tls"]["clientcas"] = [str(client_ca)]
        config: dict[str, Any] = {"version": 0.1, "log": {"level": "info"}, "storage": storage, "http": http}
        config.update(self._auth(users, token))
        if proxy:
            config["proxy"] = {"remoteurl": proxy}
        if allow_urls:
            config["validation"] = {"manifests": {"urls": {"allow": list(allow_urls)}}}
        self._start(_merged(config, extra or {}))

    def _auth(self, users: Mapping[str, str] | None, token: TokenServer | None) -> dict[str, Any]:
        if token:
            issuer = {"realm": token.realm, "service": token.audience, "issuer": token.issuer}
            return {"auth": {"token": {**issuer, "rootcertbundle": str(token.bundle)}}}
        if users:
            path = self._directory / "htpasswd"
            path.write_text(htpasswd(users))
            return {"auth": {"htpasswd": {"realm": "test", "path": str(path)}}}
        return {}

    def _start(self, config: Mapping[str, Any]) -> None:
        path = self._directory / "config.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        clean = {
            "OTEL_TRACES_EXPORTER": "none",
            "HTTP_PROXY": "",
            "HTTPS_PROXY": "",
            "http_proxy": "",
            "https_proxy": "",
        }
        self._command = [self.program, "serve", str(path)]
        self._environment = clean
        self.process = ServerProcess(self._command, self._directory / "log", clean)
        self.process.wait_for_port(self.port)

    def __enter__(self) -> DockerRegistry:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and remove its temporary storage."""
        self.process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def restart(self) -> None:
        """Kill it and start it again on the same port and storage."""
        self.process.stop(grace_seconds=0)
        self.process = ServerProcess(self._command, self._directory / "log", self._environment)
        self.process.wait_for_port(self.port)

    def log(self) -> str:
        """All it has written so far."""
        return self.process.log()

    def requests(self, since: int = 0) -> list[AccessLogLine]:
        """The access log, from line number `since` on (take `len(requests())` before what you want to count)."""
        self._settle_log()
        lines = [AccessLogLine(m, p, int(s), int(b)) for m, p, s, b in _ACCESS.findall(self.log()) if _MARK not in p]
        return lines[since:]

    def _settle_log(self) -> None:
        # A line is written after its reply is sent, so one more request goes first, and its line is waited for.
        mark = f"{_MARK}={secrets.token_hex(8)}"
        if self._plain and self.process.alive:
            with Wire(self.url) as wire:
                wire.request("GET", f"/v2/?{mark}")
            wait_until(lambda: mark in self.log(), "the access log")

    def count(self, method: str, path_regex: str, since: int = 0) -> int:
        """How many requests had that method and a path in which the expression is found."""
        return sum(line.method == method and bool(re.search(path_regex, line.path)) for line in self.requests(since))

    def blob_path(self, digest: str) -> Path:
        """Where the storage has the bytes of a blob or manifest, for tests that damage them."""
        algorithm, _, name = digest.partition(":")
        return self.root / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"


def _merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = _merged(out[key], value) if both else value
    return out
