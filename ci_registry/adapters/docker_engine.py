"""The Docker daemon, through the docker SDK: the only module that imports it.

Which daemon: `DOCKER_HOST` with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, else the context of `DOCKER_CONTEXT` or of
`currentContext` in docker's config.json, else the local socket; as the docker command does it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import AccessError, CiRegistryError, ConfigError, NotFoundError, ReferenceSyntaxError, RemoteError
from ..model.descriptor import Digest, Platform
from .docker_socket import ask, local_socket, open_body

if TYPE_CHECKING:
    from docker import APIClient

    from .compression import Readable

__all__ = ["DockerEngine", "LocalImage", "LocalName", "SaveStream"]

_ANSWER_SECONDS = 60
_CHECK_SECONDS = 0.1
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_FIRST_API_WITH_CONTAINERD = (1, 42)
_CONTAINERD_DRIVER = "io.containerd.snapshotter.v1"


class LocalName(Struct, frozen=True):
    """An image in the daemon's list: its id, its names, and the registry digests it was pulled from or pushed to."""

    id: Digest
    tags: tuple[str, ...]
    digests: tuple[str, ...]


class LocalImage(Struct, frozen=True):
    """What the daemon says about an image.

    `id` is the digest of the configuration, or of the manifest or index where the daemon uses the containerd image
    store (`in_containerd`). `document` is the whole answer.
    """

    id: Digest
    diff_ids: tuple[Digest, ...]
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    platform: Platform
    in_containerd: bool
    document: Mapping[str, Any]


class DockerEngine:
    """A connection to the daemon; made on first use. Errors are ours: no daemon or a broken one is a `RemoteError`,
    no right to its socket an `AccessError`, an unknown image a `NotFoundError`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self._known: APIClient | None = None
        self.address = environ.get("DOCKER_HOST") or _DEFAULT_SOCKET

    def __repr__(self) -> str:
        return f"DockerEngine({self.address!r})"

    def close(self) -> None:
        if self._known is not None:
            self._known.close()
            self._known = None

    # -- connecting ----------------------------------------------------------------------------------------------

    @property
    def _client(self) -> APIClient:
        if self._known is None:
            import docker
            from docker.errors import DockerException, TLSParameterError

            try:
                settings = self._settings()
                self.address = str(settings.get("base_url") or _DEFAULT_SOCKET)
                self._known = docker.APIClient(**settings, version="auto", timeout=_ANSWER_SECONDS)
            except TLSParameterError as error:
                raise ConfigError(
                    f"connecting to the docker daemon at {self.address} failed: {error}",
                    hint="DOCKER_CERT_PATH has to be a folder with ca.pem, cert.pem and key.pem",
                ) from error
            except (DockerException, OSError, ValueError) as error:
                raise self._failure(error, "connecting to the docker daemon") from error
        return self._known

    def _settings(self) -> dict[str, Any]:
        from docker.utils import kwargs_from_env

        chosen = {} if self._environ.get("DOCKER_HOST") else self._context()
        # An empty environment would stand for the one of this process.
        return chosen or dict(kwargs_from_env(environment=self._environ or {"DOCKER_HOST": ""}))

    def _context(self) -> dict[str, Any]:
        """The address and TLS settings of the chosen context; none for the default one."""
        from docker.context import ContextAPI
        from docker.context.config import get_current_context_name
        from docker.errors import ContextException

        name = self._environ.get("DOCKER_CONTEXT") or get_current_context_name()
        if name == "default":
            return {}
        try:
            context = ContextAPI.get_context(name)
        except (ContextException, OSError, ValueError, KeyError) as error:
            raise ConfigError(f"reading the docker context '{name}' failed: {error}") from error
        if context is None:
            raise ConfigError(
                f"connecting to the docker daemon failed: there is no docker context '{name}'",
                hint="see `docker context ls`; DOCKER_CONTEXT or currentContext in docker's config.json chooses it",
            )
        settings: dict[str, Any] = {"base_url": context.Host}
        if context.TLSConfig is not None:
            settings["tls"] = context.TLSConfig
        return settings

    @cached_property
    def _local_socket(self) -> str | None:
        return local_socket(self._environ)

    def _ask(self, *words: str) -> tuple[Any, str] | None:
        """A clear answer of a local daemon, had without the SDK."""
        return ask(self._local_socket, *words) if self._local_socket is not None else None

    # -- images --------------------------------------------------------------------------------------------------

    def inspect(self, reference: str) -> LocalImage:
        """What the daemon knows about a name, `NAME@DIGEST` or an id."""
        found = self._inspect_quickly(reference) if self._known is None else None
        if found is not None:
            return found
        with self._translated(f"looking for {reference}"):
            client = self._client
            document = client.inspect_image(reference)  # type: ignore[no-untyped-call]
            return _local_image(document, client.api_version, client.info)

    def _inspect_quickly(self, reference: str) -> LocalImage | None:
        """Without the SDK, where the daemon's socket is here and the answer is clear."""
        answer = self._ask("images", reference, "json")
        if answer is None:
            return None
        try:
            found = _local_image(*answer, lambda: (self._ask("info") or ({}, ""))[0])
        except (ValueError, KeyError, TypeError, ReferenceSyntaxError):
            return None
        self.address = f"unix://{self._local_socket}"
        return found

    def images(self) -> list[LocalName]:
        """All images that have a name or a registry digest, the newest first."""
        answer = self._ask("images", "json")
        with self._translated("listing the images of the docker daemon"):
            return _local_names(answer[0] if answer is not None else self._client.images())

    def tag(self, image: str, name: str, tag: str) -> None:
        """Give an image another name, as `docker tag` does."""
        with self._translated(f"tagging {image} as {name}:{tag}"):
            if not self._client.tag(image, name, tag):
                raise RemoteError(f"tagging {image} as {name}:{tag} failed: the docker daemon did not do it")

    @contextmanager
    def save(self, reference: str, check: Callable[[], None] = lambda: None) -> Iterator[SaveStream]:
        """The tar that `docker save` gives, as a stream.

        The daemon may take minutes before its first byte; `check` is called all the time and may raise to give up.
        """
        attempt = f"saving {reference}"
        socket_path = self._local_socket
        body = open_body(socket_path, "images", reference, "get", check=check) if socket_path is not None else None
        if body is not None:
            with contextlib.closing(body):
                yield SaveStream(self, attempt, body.read, body.abort)
            return
        with self._translated(attempt):
            client = self._client
            url = f"{client.base_url}/v{client.api_version}/images/{reference}/get"
            response = _awaited(lambda: client.get(url, stream=True, timeout=(_ANSWER_SECONDS, None)), check)
        with contextlib.closing(response):
            with self._translated(attempt):
                _raise_for_status(response)
            raw = response.raw
            # Where urllib3 is older than 2.3, the next bytes from the daemon end it.
            yield SaveStream(
                self, attempt, partial(raw.read, decode_content=False), getattr(raw, "shutdown", lambda: None)
            )

    def load(self, archive: Readable) -> list[str]:
        """Load an archive, as `docker load` does; gives what the daemon said. Its refusal is a `RemoteError`."""
        attempt = "loading the image into the docker daemon"
        with self._translated(attempt):
            client = self._client
            url = f"{client.base_url}/v{client.api_version}/images/load?quiet=1"
            response = client.post(url, data=_chunks(archive), stream=True, timeout=(_ANSWER_SECONDS, None))
        with contextlib.closing(response), self._translated(attempt):
            _raise_for_status(response)
            return _said(response, attempt)

    # -- errors --------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self, attempt: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, _network_errors()):
                raise self._failure(error, attempt) from error
            if not isinstance(error, (ValueError, KeyError, TypeError, ReferenceSyntaxError)):
                raise
            raise RemoteError(
                f"{attempt} failed: what answers at {self.address} does not speak as a docker daemon does ({error})"
            ) from error

    def _failure(self, error: Exception, attempt: str) -> CiRegistryError:
        from docker.errors import APIError

        if isinstance(error, APIError):
            return self._refusal(error, attempt)
        cause = _system_error(error)
        if isinstance(cause, PermissionError):
            return AccessError(
                f"{attempt} failed: this user may not use the docker daemon's socket {self.address}",
                hint="run as a user in the group docker, or set DOCKER_HOST to a daemon that you may use",
            )
        if isinstance(cause, (FileNotFoundError, ConnectionRefusedError, socket.gaierror)):
            return RemoteError(
                f"{attempt} failed: no docker daemon answers at {self.address} ({_reason(cause)})",
                hint="start docker, or set DOCKER_HOST or DOCKER_CONTEXT; an archive needs no daemon",
            )
        return RemoteError(
            f"{attempt} failed: the connection to the docker daemon at {self.address} broke "
            f"({_reason(cause) if cause is not None else error})",
            hint="see whether the daemon is still running, and run it again",
        )

    def _refusal(self, error: Any, attempt: str) -> CiRegistryError:
        said = str(error.explanation or error)
        if error.status_code == 404:
            return NotFoundError(f"{attempt} failed: the docker daemon at {self.address} has no such image")
        if error.status_code in (401, 403):
            return AccessError(f"{attempt} failed: the docker daemon at {self.address} refused it ({said})")
        return RemoteError(f"{attempt} failed: the docker daemon at {self.address} said: {said}")


class SaveStream:
    """The bytes of a saved image; `read` gives some of them, `shut` breaks off what another thread is reading."""

    def __init__(
        self, engine: DockerEngine, attempt: str, read: Callable[[int], bytes], shut: Callable[[], None]
    ) -> None:
        self._engine, self._attempt, self._read, self._shut = engine, attempt, read, shut
        self.count = 0
        """Bytes read so far."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end. Raises `RemoteError` when the daemon breaks off."""
        with self._engine._translated(f"{self._attempt}, after {self.count} bytes,"):
            data = self._read(size)
        self.count += len(data)
        return data

    def abort(self) -> None:
        """Break off from another thread or a signal handler."""
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # whatever it was doing, it is over
            self._shut()


def _local_image(document: Mapping[str, Any], version: str, info: Callable[[], Mapping[str, Any]]) -> LocalImage:
    """The answer about an image, understood. Raises `KeyError` and the like when it is another kind of answer."""
    return LocalImage(
        Digest(document["Id"]),
        tuple(Digest(layer) for layer in (document.get("RootFS") or {}).get("Layers") or ()),
        tuple(document.get("RepoTags") or ()),
        tuple(document.get("RepoDigests") or ()),
        Platform(
            str(document.get("Os") or ""), str(document.get("Architecture") or ""), str(document.get("Variant") or "")
        ),
        _in_containerd(document, version, info),
        document,
    )


def _local_names(entries: list[Mapping[str, Any]]) -> list[LocalName]:
    newest_first = sorted(entries, key=lambda entry: -int(entry.get("Created") or 0))
    names = [
        LocalName(Digest(entry["Id"]), _named(entry.get("RepoTags")), _named(entry.get("RepoDigests")))
        for entry in newest_first
    ]
    return [name for name in names if name.tags or name.digests]


def _in_containerd(document: Mapping[str, Any], version: str, info: Callable[[], Mapping[str, Any]]) -> bool:
    if tuple(int(part) for part in version.split(".")[:2]) < _FIRST_API_WITH_CONTAINERD:
        return False
    if document.get("Descriptor"):
        return True
    return any(list(entry)[-1:] == [_CONTAINERD_DRIVER] for entry in info()["DriverStatus"] or ())


def _named(values: object) -> tuple[str, ...]:
    """Names without the `<none>` that the daemon puts where there is none."""
    return tuple(str(value) for value in values or () if "<none>" not in str(value)) if isinstance(values, list) else ()


def _awaited(call: Callable[[], Any], check: Callable[[], None]) -> Any:
    """The result of a call that waits in another thread, which is left alone there when `check` raises."""
    from concurrent.futures import Future, wait

    from requests import RequestException

    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except (RequestException, OSError, ValueError) as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="docker save").start()
    while not wait([future], _CHECK_SECONDS).done:
        check()
    return future.result()


def _chunks(archive: Readable) -> Iterator[bytes]:
    while data := archive.read(1024 * 1024):
        yield data


def _network_errors() -> tuple[type[Exception], ...]:
    from docker.errors import DockerException
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    return DockerException, RequestException, HTTPError, OSError


def _raise_for_status(response: Any) -> None:
    from docker.errors import create_api_error_from_http_exception
    from requests import HTTPError

    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)  # raises it


def _said(response: Any, attempt: str) -> list[str]:
    """The texts of a stream of JSON messages, one of which may say that all failed (Docker Engine API, "Load")."""
    import json

    said = []
    for line in response.iter_lines():
        message = json.loads(line) if line else {}
        if message.get("error"):
            raise RemoteError(f"{attempt} failed: the docker daemon said: {message['error']}")
        said.append(str(message.get("stream") or message.get("status") or "").strip())
    return [text for text in said if text]


def _system_error(error: BaseException | None) -> OSError | None:
    """The error of the operating system that lies below what the libraries made of it."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None:
            return current
        waiting += [*current.args, current.__cause__, current.__context__, getattr(current, "reason", None)]
    return None


def _reason(error: OSError) -> str:
    return error.strerror or errno.errorcode.get(error.errno or 0, str(error))
