"""Which layer is which in a stream of `docker save`, whose list of layers comes last.

Names tell: Docker 25 and newer call a layer by its diffID, podman too. Older ones use v1 ids, which can be computed
from the diffIDs for every layer but the last; the last is the one that is none of the others. A guess that was wrong
is found out by hashing, so it costs another walk and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..model.descriptor import Digest

__all__ = ["LayerNames"]

_EMPTY_CONTAINER_CONFIG: Mapping[str, Any] = {
    **dict.fromkeys(("Hostname", "Domainname", "User"), ""),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"), False),
    **dict.fromkeys(("Env", "Cmd"), None),
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    **dict.fromkeys(("Entrypoint", "OnBuild", "Labels"), None),
}
_EPOCH = "1970-01-01T00:00:00Z"


class LayerNames:
    """Knows the members of one image's archive by their names, `image_id` and diffIDs."""

    def __init__(self, image_id: Digest, diff_ids: Sequence[Digest]) -> None:
        self._config = {f"{image_id.hex}.json", f"blobs/{image_id.algorithm}/{image_id.hex}"}
        self._diff_ids = list(diff_ids)
        self._by_name = {f"blobs/{each.algorithm}/{each.hex}": each for each in diff_ids}
        self._by_name |= {f"{each.hex}.tar": each for each in diff_ids}
        self._last_name = ""
        self._learn({"container_config": _EMPTY_CONTAINER_CONFIG, "created": _EPOCH})

    def is_config(self, name: str) -> bool:
        return name in self._config

    def is_layer(self, name: str) -> bool:
        return name in self._by_name or name.endswith("/layer.tar")

    def layer(self, name: str) -> Digest | None:
        """The diffID that a layer of that name should have; None when nothing tells."""
        known = self._by_name.get(name)
        if known is not None or self._last_name not in ("", name) or not self._diff_ids:
            return known
        self._last_name = name
        return self._diff_ids[-1]

    def is_v1_document(self, name: str) -> bool:
        """Whether a member tells how the daemon computed the ids of lower layers."""
        folder, _, last = name.rpartition("/")
        return last == "json" and len(folder) == 64 and f"{folder}/layer.tar" not in self._by_name

    def learn(self, content: bytes) -> None:
        """Take over what one lower layer's document says; the time in it depends on the daemon's time zone."""
        try:
            document = json.loads(content)
        except ValueError:
            return  # the names then tell less, and hashing the layers tells all
        if isinstance(document, dict) and "container_config" in document and "created" in document:
            self._learn(document)

    def _learn(self, document: Mapping[str, Any]) -> None:
        template = {key: document[key] for key in ("container_config", "created")}
        for v1_id, diff_id in zip(_v1_ids(self._diff_ids, template), self._diff_ids[:-1], strict=True):
            self._by_name[f"{v1_id.hex}/layer.tar"] = diff_id


def _v1_ids(diff_ids: Sequence[Digest], template: Mapping[str, Any]) -> list[Digest]:
    """Docker's ids of all layers but the last (moby, image/v1/imagev1.go, CreateID)."""
    ids: list[Digest] = []
    chain = ""
    for diff_id in diff_ids[:-1]:
        # ChainID (OCI image-spec, config.md, "Layer ChainID").
        chain = _sha256(f"{chain} {diff_id}".encode()) if chain else diff_id
        parent = {"parent": str(ids[-1])} if ids else {}
        content = json.dumps(
            {**template, "layer_id": chain, **parent}, separators=(",", ":"), sort_keys=False, ensure_ascii=False
        )
        ids.append(_sha256(content.encode()))
    return ids


def _sha256(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")
