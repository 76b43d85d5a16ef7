"""nginx and squid as test servers, run as the user of the tests from a private directory."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from .process import ServerProcess, free_port, temporary_directory

__all__ = ["Nginx", "Squid"]


class Nginx:
    """nginx with the test's own `server { ... }` blocks inside a ready `http { }` block.

    In the text, `@PORT@` becomes `port` and `@DIR@` the private directory. `http_options` go before the servers.
    """

    def __init__(self, servers: str, http_options: str = "") -> None:
        self.port = free_port()
        self.directory = temporary_directory()
        text = _NGINX.replace("@SERVERS@", servers).replace("@OPTIONS@", http_options)
        # As root, nginx would give its workers to nobody, who can't reach the private directory.
        text = ("user root;\n" if os.getuid() == 0 else "") + text
        config = self.directory / "nginx.conf"
        config.write_text(text.replace("@PORT@", str(self.port)).replace("@DIR@", str(self.directory)))
        command = ["nginx", "-p", str(self.directory), "-c", str(config), "-e", str(self.directory / "error.log")]
        self.process = ServerProcess(command, self.directory / "output.log")
        self.process.wait_for_port(self.port)

    def __enter__(self) -> Nginx:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def requests(self) -> list[tuple[str, str, int]]:
        """(method, path, status) of everything so far."""
        return _access(self.directory / "access.log")

    def error_log(self) -> str:
        return _text(self.directory / "error.log")


class Squid:
    """squid on 127.0.0.1. `rules` are its http_access rules and acls; by default everything is let through.

    `@DIR@` becomes the private directory. With `users` (an htpasswd text), Basic authentication is demanded.
    """

    def __init__(self, rules: str = "http_access allow all", users: str | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = temporary_directory()
        if users is not None:
            (self.directory / "users").write_text(users)
            rules = _SQUID_USERS + rules
        config = self.directory / "squid.conf"
        config.write_text(
            (_SQUID + rules + "\n").replace("@PORT@", str(self.port)).replace("@DIR@", str(self.directory))
        )
        if os.getuid() == 0:
            for path in (self.directory, *self.directory.iterdir()):
                shutil.chown(path, "proxy", "proxy")
        self._name = f"citest{self.port}"  # squid's shared memory is named after it
        self.process = ServerProcess(
            ["squid", "-N", "-n", self._name, "-f", str(config)], self.directory / "output.log", user="proxy"
        )
        self.process.wait_for_port(self.port)

    def __enter__(self) -> Squid:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.stop(grace_seconds=0)  # to end politely takes it two seconds
        for segment in Path("/dev/shm").glob(f"{self._name}-*"):
            segment.unlink()
        shutil.rmtree(self.directory, ignore_errors=True)

    def requests(self) -> list[tuple[str, str, int]]:
        """(method, url or host:port of a CONNECT, status) of everything finished so far."""
        lines = [line.split() for line in _text(self.directory / "access.log").splitlines()]
        return [(line[5], line[6], int(line[3].partition("/")[2])) for line in lines if line[5] != "-"]


def _access(path: Path) -> list[tuple[str, str, int]]:
    found: Sequence[tuple[str, str, str]] = re.findall(r'"([A-Z]+) (\S+) HTTP/[\d.]+" (\d+)', _text(path))
    return [(method, target, int(status)) for method, target, status in found]


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


_NGINX = """
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log @DIR@/error.log info;
events { worker_connections 512; }
http {
  access_log @DIR@/access.log combined;
  client_body_temp_path @DIR@/body;
  proxy_temp_path @DIR@/proxy;
  fastcgi_temp_path @DIR@/fastcgi;
  uwsgi_temp_path @DIR@/uwsgi;
  scgi_temp_path @DIR@/scgi;
  @OPTIONS@
  @SERVERS@
}
"""

_SQUID = """
http_port 127.0.0.1:@PORT@
pid_filename none
access_log stdio:@DIR@/access.log
cache_log @DIR@/cache.log
cache deny all
cache_mem 8 MB
coredump_dir @DIR@
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
max_filedescriptors 1024
logfile_rotate 0
visible_hostname test-proxy
"""

_SQUID_USERS = """
auth_param basic program /usr/lib/squid/basic_ncsa_auth @DIR@/users
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access deny !known
"""
