"""The cures that doctor prints, applied to the letter: the finding is gone, and the target works."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ci_registry.ops.doctor import surroundings
from ci_registry.ops.doctor.findings import Cure
from tests.support.certificates import Authority
from tests.support.docker_registry import DockerRegistry
from tests.support.doctor import OddAuthority, apply, codes, diagnose_file, only, self_signed, write_targets
from tests.support.ecr import ACCOUNT, FakeEcr
from tests.support.fake_nexus_admin import FakeNexusAdmin
from tests.support.process import wait_until
from tests.support.servers import Nginx, Squid

PASSWORD = "secret-of-the-ci-user"


@dataclass
class Trouble:
    """A target `dev` that does not work. `served`: the file of the server that a cure may edit; `reload`: after it."""

    code: str
    target: dict[str, Any]
    repository: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    served: Path | None = None
    reload: Callable[[], None] = lambda: None


Case = Callable[[Path], Any]
CASES: dict[str, Case] = {}


def case(function: Callable[[Path], Iterator[Trouble]]) -> Case:
    made = contextmanager(function)
    CASES[function.__name__] = made
    return made


def kind(url: str, **keys: Any) -> dict[str, Any]:
    return {"kind": "registry", "url": url, **keys}


# -- protocols and certificates ----------------------------------------------------------------------------------------


@case
def http_on_https(_: Path) -> Iterator[Trouble]:
    with DockerRegistry(in_memory=True) as server:
        yield Trouble("http-on-https", kind(f"https://{server.host}"), "team/app")


@case
def http_on_https_with_settings_for_tls(_: Path) -> Iterator[Trouble]:
    ca = str(OddAuthority().certificate)
    with DockerRegistry(in_memory=True) as server:
        yield Trouble("http-on-https", kind(f"https://{server.host}", ca=ca), "team/app")


@case
def https_on_http(_: Path) -> Iterator[Trouble]:
    authority = OddAuthority()
    pair = authority.issue("good", "127.0.0.1")
    with DockerRegistry(tls=pair, in_memory=True) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.certificate))  # `ca:` beside http:// is a mistake
        yield Trouble("https-on-http", kind(f"http://{server.host}"), "team/app")


@case
def unknown_authority(_: Path) -> Iterator[Trouble]:
    with DockerRegistry(tls=OddAuthority().issue("good", "127.0.0.1"), in_memory=True) as server:
        yield Trouble("unknown-authority", kind(server.url), "team/app")


@case
def signed_by_itself(_: Path) -> Iterator[Trouble]:
    with DockerRegistry(tls=self_signed("registry", "IP:127.0.0.1"), in_memory=True) as server:
        yield Trouble("self-signed", kind(server.url))


@case
def another_name(_: Path) -> Iterator[Trouble]:
    authority = OddAuthority()
    with DockerRegistry(tls=authority.issue("other", "registry.example"), in_memory=True) as server:
        yield Trouble("name-mismatch", kind(server.url, ca=str(authority.certificate)), "team/app")


@case
def common_name_only(_: Path) -> Iterator[Trouble]:
    authority = OddAuthority()
    with DockerRegistry(tls=authority.issue("common", common_name="127.0.0.1"), in_memory=True) as server:
        yield Trouble("common-name-only", kind(server.url, ca=str(authority.certificate)))


@case
def another_fingerprint(_: Path) -> Iterator[Trouble]:
    with DockerRegistry(tls=OddAuthority().issue("renewed", "127.0.0.1"), in_memory=True) as server:
        yield Trouble("fingerprint-changed", kind(server.url, fingerprint="00" * 32))


@case
def key_of_another(_: Path) -> Iterator[Trouble]:
    authority = OddAuthority()
    client, other = authority.issue("client", "client.test"), authority.issue("other", "other.test")
    pair = authority.issue("server", "127.0.0.1")
    with DockerRegistry(tls=pair, client_ca=authority.certificate, in_memory=True) as server:
        keys = {"client_cert": str(client.certificate), "client_key": str(other.key), "ca": str(authority.certificate)}
        yield Trouble("client-key-mismatch", kind(server.url, **keys), "team/app")


@case
def client_certificate(folder: Path) -> Iterator[Trouble]:
    """Certificates as `provision` writes them: the client's lie beside the CA."""
    from ci_registry.ops.provision.certificates import CertificateWishes, certificate_files
    from ci_registry.ops.provision.files import write_files
    from tests.support.certificates import KeyPair

    write_files(folder, certificate_files(folder, CertificateWishes(["127.0.0.1"], ["client"])))
    certs = folder / "certs"
    pair = KeyPair(certs / "server.pem", certs / "server.key")
    with DockerRegistry(tls=pair, client_ca=certs / "ca.pem", in_memory=True) as server:
        yield Trouble("client-certificate-needed", kind(server.url, ca=str(certs / "ca.pem")), "team/app")


# -- logins ------------------------------------------------------------------------------------------------------------


@case
def wrong_password(_: Path) -> Iterator[Trouble]:
    environ = {"CI_REGISTRY_DEV_USERNAME": "ci", "CI_REGISTRY_DEV_PASSWORD": "of-last-year", "PASSWORD": PASSWORD}
    with DockerRegistry(users={"ci": PASSWORD}, in_memory=True) as server:
        yield Trouble("wrong-password", kind(server.url), "team/app", environ)


# -- proxies -----------------------------------------------------------------------------------------------------------


@contextmanager
def nginx(location: str) -> Iterator[tuple[Nginx, Callable[[], None]]]:
    with Nginx(f"server {{\nlisten 127.0.0.1:@PORT@;\nlocation / {{\n{location}\n}}\n}}") as server:

        def reload() -> None:
            before = server.error_log().count("start worker process ")
            server.process.signal(signal.SIGHUP)
            wait_until(lambda: server.error_log().count("start worker process ") > before, "nginx's new workers")
            wait_until(lambda: "exited with code 0" in server.error_log(), "the end of nginx's old workers")

        yield server, reload


def behind(code: str, front: str) -> Iterator[Trouble]:
    """A registry behind nginx with these directives."""
    with DockerRegistry(in_memory=True) as server, nginx(f"proxy_pass {server.url};\n{front}") as (proxy, reload):
        target = kind(f"http://127.0.0.1:{proxy.port}")
        yield Trouble(code, target, "team/app", {}, proxy.directory / "nginx.conf", reload)


@case
def body_limit(_: Path) -> Iterator[Trouble]:
    yield from behind("body-limit", "proxy_set_header Host $http_host;\nclient_max_body_size 1m;")


@case
def port_dropped(_: Path) -> Iterator[Trouble]:
    yield from behind("wrong-host", "proxy_set_header Host $host;\nclient_max_body_size 0;")


@case
def no_challenge(_: Path) -> Iterator[Trouble]:
    environ = {"CI_REGISTRY_DEV_USERNAME": "ci", "CI_REGISTRY_DEV_PASSWORD": PASSWORD}
    front = "proxy_set_header Host $http_host;\nclient_max_body_size 0;\nproxy_hide_header WWW-Authenticate;"
    with ExitStack() as stack:
        server = stack.enter_context(DockerRegistry(users={"ci": PASSWORD}, in_memory=True))
        proxy, reload = stack.enter_context(nginx(f"proxy_pass {server.url};\n{front}"))
        target = kind(f"http://127.0.0.1:{proxy.port}")
        yield Trouble("no-challenge", target, "team/app", environ, proxy.directory / "nginx.conf", reload)


@case
def proxy_refuses(_: Path) -> Iterator[Trouble]:
    authority = OddAuthority()
    rules = "acl SSL_ports port 443\nacl CONNECT method CONNECT\n"
    rules += "http_access deny CONNECT !SSL_ports\nhttp_access allow all"
    with DockerRegistry(tls=authority.issue("good", "127.0.0.1"), in_memory=True) as server, Squid(rules) as squid:

        def reload() -> None:
            before = log(squid).count("Accepting HTTP Socket connections")
            squid.process.signal(signal.SIGHUP)
            wait_until(lambda: log(squid).count("Accepting HTTP Socket connections") > before, "squid's new rules")

        target = kind(server.url, ca=str(authority.certificate), proxy=squid.url)
        yield Trouble("proxy-refuses", target, "team/app", {}, squid.directory / "squid.conf", reload)


def log(squid: Squid) -> str:
    return (squid.directory / "cache.log").read_text(errors="replace")


# -- kinds -------------------------------------------------------------------------------------------------------------


@contextmanager
def a_nexus() -> Iterator[tuple[FakeNexusAdmin, dict[str, str]]]:
    environ = {"CI_REGISTRY_DEV_USERNAME": "admin", "CI_REGISTRY_DEV_PASSWORD": PASSWORD, "PASSWORD": PASSWORD}
    with FakeNexusAdmin(PASSWORD, Authority().issue()) as nexus:
        yield nexus, environ


def of_nexus(nexus: FakeNexusAdmin, url: str) -> dict[str, Any]:
    return {"kind": "nexus", "url": url, "api": nexus.url, "nexus_repository": nexus.name}


@case
def nexus_web_interface(_: Path) -> Iterator[Trouble]:
    with a_nexus() as (nexus, environ):
        nexus.docker["httpsPort"] = None
        yield Trouble("nexus-ui-port", of_nexus(nexus, nexus.url), "team/app", environ)


@case
def nexus_realm(_: Path) -> Iterator[Trouble]:
    with a_nexus() as (nexus, environ):
        nexus.docker["forceBasicAuth"], nexus.realms = False, ["NexusAuthenticatingRealm"]
        nexus.anonymous = True
        yield Trouble("nexus-realm", of_nexus(nexus, nexus.http), "team/app", environ)


@case
def nexus_terms(_: Path) -> Iterator[Trouble]:
    with a_nexus() as (nexus, environ):
        nexus.eula = False
        yield Trouble("nexus-eula", of_nexus(nexus, nexus.http), "team/app", environ)


@case
def ecr_repository(_: Path) -> Iterator[Trouble]:
    yield from an_ecr("ecr-repository-missing", "team/new")


@case
def ecr_region(_: Path) -> Iterator[Trouble]:
    yield from an_ecr("ecr-wrong-region", "team/abroad")


def an_ecr(code: str, repository: str) -> Iterator[Trouble]:
    hosts = [f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com" for region in ("eu-west-1", "us-east-1")]
    with FakeEcr(Authority(), hosts) as ecr, pytest.MonkeyPatch.context() as patch, ecr.environment(patch):
        if ecr.repository("team/abroad", region="us-east-1") is None:  # moto keeps what it has for the whole process
            ecr.client(region="us-east-1").create_repository(repositoryName="team/abroad")
        target = {"kind": "ecr", "account": ACCOUNT, "region": "eu-west-1"}
        yield Trouble(code, target, repository, {"AWS_REGION": "us-east-1"})


# -- the draw ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "container_kind", lambda _environ: "")


def test_ten_drawn_findings_are_gone_after_their_printed_cure(tmp_path: Path) -> None:
    """`DOCTOR_CURES_SEED` draws the same ten again, or with "all" every one."""
    seed = os.environ.get("DOCTOR_CURES_SEED") or str(random.SystemRandom().randrange(10**6))
    drawn = sorted(CASES) if seed == "all" else random.Random(seed).sample(sorted(CASES), 10)
    print(f"DOCTOR_CURES_SEED={seed}: {', '.join(drawn)}")
    for name in drawn:
        folder = tmp_path / name
        folder.mkdir()
        with ExitStack() as stack:
            cured(name, stack.enter_context(CASES[name](folder)), folder)


def cured(name: str, trouble: Trouble, folder: Path) -> None:
    file = write_targets(folder / "ci-registry.yaml", {"dev": trouble.target})
    environ = {**os.environ, **trouble.environ}
    question = f"dev:{trouble.repository}" if trouble.repository else "dev"
    finding = only(diagnose_file(file, question, environ=environ), trouble.code)
    apply(first(finding.cures), file, environ, trouble.served)
    trouble.reload()
    left = codes(diagnose_file(file, question, environ=environ), worst="error")
    assert left == [], f"{name}: after {finding.cures[0]} doctor still finds {left}"


def first(cures: list[Cure]) -> Cure:
    assert cures[0].kind != "do"
    return cures[0]
