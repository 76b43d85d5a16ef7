"""Amazon ECR for tests: moto's API, a real docker-registry that takes moto's tokens, and what ECR does differently.

The registries are reached under their real names, by TLS and through a CONNECT proxy, so nothing in the code under test
is replaced. Between them and the docker-registry stands a shim: repositories that moto does not know are refused, so
are tokens that have ended and tags that are immutable; layers are handed out by a storage that refuses credentials; a
mount is always answered with 202.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from .certificates import Authority
from .connect_proxy import ConnectProxy
from .docker_registry import DockerRegistry
from .front import Front, error_reply
from .http_server import Exchange, HttpServer, Reply
from .images import MANIFEST_ACCEPT
from .process import free_port
from .token_server import parse_basic
from .wire import Wire

__all__ = ["ACCOUNT", "OTHER_ACCOUNT", "FakeEcr"]

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
_STORAGE = "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com"
_EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
_PATH = re.compile(r"/v2/(.+)/(manifests|blobs|tags|referrers)/(.*)")


class FakeEcr:
    """`hosts` are the registries' names; the first account's are `ACCOUNT.dkr.ecr.REGION...`. A context manager.

    Tokens are numbered: `MOTO_PASSWORD.N`. `lifetime_seconds` is what their expiresAt says, `expired` the numbers that
    the registry takes no more. `denied` holds ECR actions that nobody may do.
    """

    def __init__(self, authority: Authority, hosts: Sequence[str]) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.authority = authority
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.aws = Front(f"http://{host}:{port}", self._answer_aws)
        self.backend = DockerRegistry(users={"AWS": f"{ACCOUNT}-auth-token"}, in_memory=True)
        context = authority.issue(*hosts).server_context()
        self.registry = Front(self.backend.url, self._answer, context)
        self._storage = HttpServer(self._answer_storage, free_port(), authority.issue(_STORAGE).server_context())
        self.proxy = ConnectProxy({**dict.fromkeys(hosts, self.registry.port), _STORAGE: self._storage.port})
        self._clients: dict[tuple[str, str], Any] = {}
        self.reset()

    def reset(self) -> None:
        """As if just started; what was pushed stays in the registry."""
        self.lifetime_seconds = 12 * 3600.0
        self.issued = 0
        self.expired: set[int] = set()
        self.denied: set[str] = set()
        self.refuse_storage = 0
        self.aws.seen.clear()
        self.registry.seen.clear()
        self.calls: list[str] = []

    def __enter__(self) -> FakeEcr:
        return self

    def __exit__(self, *error: object) -> None:
        self.proxy.__exit__()
        self._storage.stop()
        self.registry.stop()
        self.backend.stop()
        self.aws.stop()
        self._moto.stop()
        assert self._storage.failures == []

    @contextmanager
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The variables of a machine that reaches Amazon through the proxy and trusts the tests' authority."""
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLEEXAMPLE00")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret/key+of+the+tests")
            patch.setenv("AWS_ENDPOINT_URL", self.aws.url)
            patch.setenv("HTTPS_PROXY", self.proxy.url)
            patch.setenv("SSL_CERT_FILE", str(self.authority.certificate))
            yield

    def client(self, service: str = "ecr", region: str = "eu-west-1", account: str = ACCOUNT) -> Any:
        """A boto3 client of moto itself, not counted in `calls`."""
        import boto3

        if (service + region, account) not in self._clients:
            host, port = self._moto.get_host_and_port()
            # moto puts keys that it did not make itself into the default account
            keys = {
                "aws_access_key_id": "test",
                "aws_secret_access_key": "test",
                "endpoint_url": f"http://{host}:{port}",
            }
            if account != ACCOUNT:
                role = f"arn:aws:iam::{account}:role/of-the-tests"
                sts = boto3.client("sts", region_name=region, **keys)
                made = sts.assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
                keys["aws_access_key_id"] = made["AccessKeyId"]
                keys["aws_secret_access_key"] = made["SecretAccessKey"]
                keys["aws_session_token"] = made["SessionToken"]
            self._clients[service + region, account] = boto3.client(service, region_name=region, **keys)
        return self._clients[service + region, account]

    def repository(self, name: str, account: str = ACCOUNT, region: str = "eu-west-1") -> dict[str, Any] | None:
        """What moto knows of a repository."""
        client = self.client(region=region, account=account)
        try:
            found = client.describe_repositories(repositoryNames=[name])["repositories"]
        except client.exceptions.RepositoryNotFoundException:
            return None
        return dict(found[0])

    # -- Amazon's API --------------------------------------------------------------------------------------------

    def _answer_aws(self, exchange: Exchange) -> Reply:
        action = exchange.headers.get("x-amz-target", "").rpartition(".")[2]
        if not action:
            action = (
                "AssumeRole" if exchange.headers.get("content-type", "").startswith("application/x-www-form") else ""
            )
        self.calls.append(action)
        if f"ecr:{action}" in self.denied or f"sts:{action}" in self.denied:
            return self._aws_denied(action)
        reply = self.aws.forward(exchange)
        return self._numbered(reply) if action == "GetAuthorizationToken" and reply.status == 200 else reply

    def _aws_denied(self, action: str) -> Reply:
        service = "sts" if action == "AssumeRole" else "ecr"
        said = (
            f"User: arn:aws:iam::{ACCOUNT}:user/builder is not authorized to perform: {service}:{action} on resource: "
            f"* because no identity-based policy allows the {service}:{action} action"
        )
        if action == "AssumeRole":
            body = f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{said}</Message></Error></ErrorResponse>"
            return Reply(403, {"Content-Type": "text/xml"}, body.encode())
        document = {"__type": "AccessDeniedException", "message": said}
        return Reply(400, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode())

    def _numbered(self, reply: Reply) -> Reply:
        """moto's token never changes and ended in 2015: number it, and let it last."""
        document = json.loads(bytes(reply.body))
        self.issued += 1
        for entry in document["authorizationData"]:
            password = base64.b64decode(entry["authorizationToken"]).decode()
            entry["authorizationToken"] = base64.b64encode(f"{password}.{self.issued}".encode()).decode()
            entry["expiresAt"] = time.time() + self.lifetime_seconds
        return Reply(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(document).encode())

    # -- the registry --------------------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange) -> Reply:
        login = parse_basic(exchange.headers.get("authorization", ""))
        password, _, number = (login or ("", ""))[1].rpartition(".")
        if login is None or login[0] != "AWS" or not re.fullmatch(r"\d{12}-auth-token", password):
            challenge = f'Basic realm="https://{exchange.headers["host"]}/",service="ecr.amazonaws.com"'
            return Reply(401, {"WWW-Authenticate": challenge, "Content-Type": "text/plain"}, b"Not Authorized\n")
        if int(number) in self.expired:
            return error_reply(403, "DENIED", _EXPIRED)
        return self._refused(exchange) or self._pass_on(exchange)

    def _refused(self, exchange: Exchange) -> Reply | None:
        match = _PATH.fullmatch(exchange.path)
        if match is None:
            return None
        account, region = _place(exchange.headers["host"])
        known = self.repository(match[1], account, region)
        if known is None:
            said = f"The repository with name '{match[1]}' does not exist in the registry with id '{account}'"
            return error_reply(404, "NAME_UNKNOWN", said)
        action = (
            "ecr:InitiateLayerUpload"
            if exchange.method == "POST"
            else "ecr:PutImage"
            if match[2] == "manifests"
            else ""
        )
        if action in self.denied and exchange.method in ("POST", "PUT"):
            said = f"User: arn:aws:iam::{ACCOUNT}:user/builder is not authorized to perform: {action}"
            return error_reply(403, "DENIED", said)
        if exchange.method == "PUT" and match[2] == "manifests" and ":" not in match[3]:
            return self._immutable(match[1], match[3], known)
        return None

    def _immutable(self, repository: str, tag: str, known: dict[str, Any]) -> Reply | None:
        if known["imageTagMutability"] != "IMMUTABLE":
            return None
        with Wire(self.backend.url, ("AWS", f"{ACCOUNT}-auth-token")) as wire:
            path = f"/v2/{repository}/manifests/{tag}"
            if wire.request("HEAD", path, headers={"Accept": MANIFEST_ACCEPT}).status != 200:
                return None
        said = (
            f"The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because "
            "the repository is immutable."
        )
        return error_reply(400, "TAG_INVALID", said)

    def _pass_on(self, exchange: Exchange) -> Reply:
        target = exchange.path if exchange.argument("mount") else exchange.target
        backend = base64.b64encode(f"AWS:{ACCOUNT}-auth-token".encode()).decode()
        headers = {"authorization": f"Basic {backend}", "x-forwarded-proto": "https"}
        reply = self.registry.forward(exchange, target, headers)
        if exchange.method == "GET" and "/blobs/sha256:" in exchange.path and reply.status == 200:
            location = f"https://{_STORAGE}{exchange.path}?X-Amz-Signature=0123456789abcdef"
            return Reply(307, {"Location": location, "Content-Type": "text/plain"}, b"")
        return reply

    def _answer_storage(self, exchange: Exchange) -> Reply:
        if "authorization" in exchange.headers:
            return Reply(400, {"Content-Type": "application/xml"}, b"<Error><Code>InvalidArgument</Code></Error>")
        if self.refuse_storage:
            self.refuse_storage -= 1
            return Reply(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>")
        backend = base64.b64encode(f"AWS:{ACCOUNT}-auth-token".encode()).decode()
        return self.registry.forward(exchange, exchange.path, {"authorization": f"Basic {backend}"})


def _place(host: str) -> tuple[str, str]:
    match = re.match(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.", host)
    assert match is not None
    return match[1], match[2]
