"""A docker daemon in words only, for what a real one of this machine can't be made to say: other image stores, tars
that don't fit, answers that break off. It speaks the Docker Engine API over TCP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .http_server import Exchange, HttpServer, Reply

__all__ = ["FakeDocker"]

_IMAGE = re.compile(r"^/v[0-9.]+/images/(.+)/(json|get|tag)$")


class FakeDocker:
    """Holds one image, called `name`, with this `id`, these diffIDs and registry digests, and `saved` for its tar.

    `containerd` makes it use the containerd image store. `save_reply` and `load_reply` replace the answers to those
    calls; `before_save` is called before the answer; `loaded` is what came in. `host` is for DOCKER_HOST.
    """

    def __init__(
        self,
        name: str,
        image_id: str,
        diff_ids: Sequence[str],
        saved: bytes,
        *,
        digests: Sequence[str] = (),
        containerd: bool = False,
        api_version: str = "1.41",
    ) -> None:
        self.name, self.id, self.diff_ids, self.saved = name, image_id, list(diff_ids), saved
        self.digests, self.containerd, self.api_version = list(digests), containerd, api_version
        self.save_reply: Reply | None = None
        self.load_reply: Reply | None = None
        self.before_save: Callable[[], object] = lambda: None
        self.loaded = b""
        self.saves = 0
        self._server = HttpServer(self._answer)
        self.host = self._server.url.replace("http://", "tcp://")

    def __enter__(self) -> FakeDocker:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _answer(self, exchange: Exchange) -> Reply:
        if exchange.path == "/version":
            return _json({"ApiVersion": self.api_version})
        if exchange.path.endswith("/info"):
            driver = "io.containerd.snapshotter.v1" if self.containerd else "overlay2"
            return _json({"DriverStatus": [["driver-type", driver]]})
        if exchange.path.endswith("/images/json"):
            return _json([{"Id": self.id, "RepoTags": [self.name], "RepoDigests": self.digests, "Created": 1}])
        if exchange.path.endswith("/images/load"):
            self.loaded = exchange.body()
            return self.load_reply or _json({"stream": f"Loaded image: {self.name}"})
        match = _IMAGE.match(exchange.path)
        if match is None or match.group(1) not in (self.name, self.id):
            return _json({"message": f"No such image: {exchange.path}"}, 404)
        return self._about_image(match.group(2))

    def _about_image(self, verb: str) -> Reply:
        if verb == "json":
            return _json(self._document())
        if verb == "tag":
            return Reply(201)
        self.saves += 1
        self.before_save()
        return self.save_reply or Reply(200, {"Content-Type": "application/x-tar"}, self.saved)

    def _document(self) -> Mapping[str, Any]:
        return {
            "Id": self.id,
            "RepoTags": [self.name],
            "RepoDigests": self.digests,
            "Os": "linux",
            "Architecture": "amd64",
            "RootFS": {"Type": "layers", "Layers": self.diff_ids},
        }


def _json(document: object, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(document).encode())
