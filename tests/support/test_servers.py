"""The real servers start as told, and their logs can be counted."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import jwt
import pytest

from .images import ImageBuilder, upload
from .process import ServerProcess, ServerStartError, free_port
from .servers import Authority, DockerRegistry, Nginx, Squid, TokenServer, htpasswd, skopeo_copy, wait_until
from .spaces import RegistrySpace
from .validator import validate_registry
from .wire import Wire


def test_ports_are_free_distinct_and_not_ephemeral() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    assert all(1024 < port < 32768 for port in ports)


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    process = ServerProcess(["sh", "-c", "echo no such luck; exit 3"], tmp_path / "log")
    with pytest.raises(ServerStartError, match=r"ended with 3\n(.*\n)*no such luck"):
        process.wait_for_port(free_port())


def test_a_missing_program_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ServerStartError, match="'no-such-server' is not installed; run 'make test-deps' as root"):
        ServerProcess(["no-such-server"], tmp_path / "log")


def test_stop_ends_the_whole_group(tmp_path: Path) -> None:
    port, pid_file = free_port(), tmp_path / "pid"
    listen = f"import socket,time; s=socket.create_server(('127.0.0.1',{port})); time.sleep(600)"
    command = f'python3 -c "{listen}" & echo $! > "{pid_file}"; wait'
    process = ServerProcess(["sh", "-c", command], tmp_path / "log")
    process.wait_for_port(port)
    process.stop()
    # A killed process that isn't our child ends a moment after the signal, which nobody tells us.
    wait_until(lambda: not _runs(pid_file.read_text().strip()), "the end of the listener", timeout_seconds=10)


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_the_access_log_counts_a_copy_inside_one_registry(registry: RegistrySpace, images: ImageBuilder) -> None:
    image = images.index(shared_layers=1)
    registry.upload(image)
    before = registry.count("POST", "/blobs/uploads/")
    assert before == len(image.blobs)
    skopeo_copy(f"docker://{registry.reference()}", f"docker://{registry.reference('copy')}")
    assert registry.count("PUT", "/copy/manifests/1$") == 1
    assert {line.status for line in registry.requests() if line.method == "POST"} <= {201, 202}


def test_registry_with_tls_client_certificates_and_users(images: ImageBuilder) -> None:
    authority = Authority()
    image = images.image()
    with DockerRegistry(tls=authority.issue(), client_ca=authority.certificate, users={"u": "p:w"}) as server:
        with Wire(server.url, ("u", "p:w"), authority.client_context(authority.issue("client"))) as wire:
            upload(image, server.url, "app", "1", wire=wire)
            assert validate_registry(server.url, "app", "1", wire).problems == []
        with Wire(server.url, ("u", "wrong"), authority.client_context(authority.issue("client"))) as wire:
            assert wire.request("GET", "/v2/").status == 401
        with (
            Wire(server.url, context=authority.client_context()) as wire,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            wire.request("GET", "/v2/")


def test_registry_with_tokens(images: ImageBuilder) -> None:
    permissions = {"u": {"team/*": "pull,push"}}
    with (
        TokenServer({"u": "p"}, permissions, anonymous={"team/*": "pull"}) as tokens,
        DockerRegistry(token=tokens) as server,
        Wire(server.url, ("u", "p")) as user,
        Wire(server.url) as nobody,
    ):
        upload(images.image(), server.url, "team/app", "1", wire=user)
        assert validate_registry(server.url, "team/app", "1", nobody).problems == []
        assert nobody.request("POST", "/v2/team/app/blobs/uploads/", b"").status == 401
        assert user.request("POST", "/v2/other/blobs/uploads/", b"").status == 401
        asked = tokens.requests[-1]
        [scope] = asked.scopes
        name, _, actions = scope.rpartition(":")  # docker-registry names the actions in any order
        assert (asked.account, name, sorted(actions.split(","))) == ("u", "repository:other", ["pull", "push"])
        token = user.request(
            "GET", f"{tokens.realm}?scope=repository:a:b:pull", headers={"Authorization": "Basic dTpw"}
        )
        claims = jwt.decode(token.json()["token"], options={"verify_signature": False}, audience=tokens.audience)
        assert (claims["sub"], claims["access"]) == ("u", [])
        assert claims["exp"] - claims["iat"] == 300
        tokens.audience = "another"
        with Wire(server.url, ("u", "p")) as late:
            refused = late.request("GET", "/v2/team/app/tags/list")
        assert refused.status == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_pull_through_read_only_and_restart(images: ImageBuilder) -> None:
    image = images.image([images.layer(), images.foreign_layer()])
    with DockerRegistry(allow_urls=[r"https://example\.invalid/"], relative_urls=True) as origin:
        upload(image, origin.url, "app", "1")
        with DockerRegistry(proxy=origin.url) as mirror, Wire(mirror.url) as wire:
            result = validate_registry(mirror.url, "app", "1", wire)
            assert (result.problems, len(result.foreign)) == ([], 1)
            assert wire.request("POST", "/v2/app/blobs/uploads/", b"").status == 405
        origin.restart()
        assert validate_registry(origin.url, "app", "1").problems == []
        with DockerRegistry(root=origin.root, readonly=True) as frozen, Wire(frozen.url) as wire:
            assert validate_registry(frozen.url, "app", "1").problems == []
            assert wire.request("POST", "/v2/app/blobs/uploads/", b"").status == 405


def test_nginx_in_front(registry: RegistrySpace, images: ImageBuilder) -> None:
    registry.upload(images.image())
    block = f"""server {{
        listen 127.0.0.1:@PORT@;
        client_max_body_size 1k;
        location / {{ proxy_pass {registry.url}; proxy_set_header Host $http_host; }}
    }}"""
    with Nginx(block) as nginx, Wire(f"http://127.0.0.1:{nginx.port}") as wire:
        assert wire.request("GET", f"/v2/{registry.repository()}/tags/list").status == 200
        answer = wire.request("PUT", "/v2/x/manifests/1", b"x" * 2000)
        assert answer.status == 413
        assert b"<html>" in answer.body
        wait_until(lambda: len(nginx.requests()) == 2, "nginx's log")
        assert nginx.requests()[1] == ("PUT", "/v2/x/manifests/1", 413)


def test_squid_with_and_without_a_login(registry: RegistrySpace) -> None:
    with Squid(users=htpasswd({"u": "p"}, bcrypt=False)) as squid:

        def status(proxy: str) -> int:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
            with opener.open(f"{registry.url}/v2/", timeout=10) as reply:
                return int(reply.status)

        with pytest.raises(urllib.error.HTTPError, match="407") as refused:
            status(squid.url)
        refused.value.close()
        assert status(squid.url.replace("//", "//u:p@")) == 200
        wait_until(lambda: len(squid.requests()) == 2, "squid's log")
        assert squid.requests() == [("GET", f"{registry.url}/v2/", 407), ("GET", f"{registry.url}/v2/", 200)]
