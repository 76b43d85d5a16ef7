"""Container images made on the spot of Debian's own programs, under the names that the world gives to such images.

Nothing is pulled: an image holds a program, the libraries that it loads, and the files it is started with.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .dockerd import Dockerd
from .process import find_program

__all__ = [
    "agent_mounts",
    "import_image",
    "make_agent_image",
    "make_nginx_image",
    "make_registry_image",
    "make_squid_image",
]

ROOT = Path(__file__).resolve().parents[2]

_PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534::/:/bin/false
www-data:x:33:33::/:/bin/false
proxy:x:13:13::/:/bin/false
"""
_GROUP = b"root:x:0:\nnogroup:x:65534:\nwww-data:x:33:\nproxy:x:13:\n"
_SQUID_FOLDERS = ("/usr/share/squid/icons", "/usr/share/squid/errors/templates", "/etc/squid")
_FOLDERS = (
    "tmp",
    "run",
    "var",
    "var/lib",
    "var/log",
    "var/log/nginx",
    "var/log/squid",
    "var/lib/nginx",
    "var/cache",
    "etc",
    "root",
)


def agent_mounts() -> list[str]:
    """Options of `docker run` for what an agent sees of this machine, read-only: its programs, and this project."""
    seen = ["/usr", "/lib", "/lib64", "/bin", "/sbin", sys.prefix, sys.base_prefix, str(ROOT)]
    return [word for path in dict.fromkeys(seen) if Path(path).exists() for word in ("-v", f"{path}:{path}:ro")]


def import_image(
    daemon: Dockerd, tag: str, programs: Sequence[str], files: Mapping[str, bytes], start: Sequence[str]
) -> None:
    """An image with these programs (paths) and their libraries; `start` is its entry point. Made once a daemon."""
    if daemon.run("image", "inspect", tag, check=False).returncode == 0:
        return
    content = {"etc/passwd": _PASSWD, "etc/group": _GROUP, "etc/nsswitch.conf": b"hosts: files dns\n", **files}
    change = f"ENTRYPOINT [{', '.join(_quoted(word) for word in start)}]"
    daemon.run("import", "--change", change, "-", tag, stdin=_tar(programs, content))


def make_registry_image(daemon: Dockerd, tag: str = "registry:2") -> None:
    """Debian's docker-registry, started as the image of that name starts it."""
    config = b"version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: ':5000'}\n"
    start = ("/usr/bin/docker-registry", "serve", "/etc/docker/registry/config.yml")
    import_image(daemon, tag, [start[0]], {"etc/docker/registry/config.yml": config}, start)


def make_nginx_image(daemon: Dockerd, tag: str = "nginx:stable") -> None:
    start = ("/usr/sbin/nginx", "-g", "daemon off;")
    mime = b"types { text/html html; }\n"
    import_image(daemon, tag, [start[0]], {"etc/nginx/mime.types": mime}, start)


def make_squid_image(daemon: Dockerd, tag: str = "ubuntu/squid:latest") -> None:
    squid = find_program("squid")
    found = [path for folder in _SQUID_FOLDERS for path in Path(folder).rglob("*") if path.is_file()]
    found.append(Path("/usr/share/squid/mime.conf"))
    files = {str(path)[1:]: path.read_bytes() for path in found}
    import_image(daemon, tag, [squid, "/usr/lib/squid/unlinkd"], files, (squid, "-N", "-f", "/etc/squid/squid.conf"))


def make_agent_image(daemon: Dockerd, tag: str = "agent:1") -> None:
    """Hardly anything: an agent sees this machine's programs by `agent_mounts`."""
    import_image(daemon, tag, [], {}, ("/usr/bin/env",))


def _quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tar(programs: Sequence[str], files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder in _FOLDERS:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder in ("tmp", "run", "var/log/squid") else 0o755
            tar.addfile(info)
        for path in dict.fromkeys([*programs, *(each for program in programs for each in _libraries(program))]):
            _add(tar, path.lstrip("/"), Path(path).read_bytes(), 0o755)
        for name, content in files.items():
            _add(tar, name, content, 0o644)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


def _libraries(program: str) -> list[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=20).stdout
    return re.findall(r"(?:=> )?(/\S+) \(0x", said)
