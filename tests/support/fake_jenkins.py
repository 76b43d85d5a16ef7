"""A strict Jenkins over HTTP, as far as `ci-registry jenkins` uses one: it answers as Jenkins's source code says.

Crumbs are bound to user and session and asked for with every POST, unless an API token logged in. Folders must exist
before jobs, an equal build that waits is answered with 303, unknown parameters are ignored, a missing form is 400, a
disabled job 409. Queue items become builds as they are polled. `drop_sessions` is what a restart does to clients.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from .http_server import Exchange, HttpServer, Reply

__all__ = ["FakeBuild", "FakeJenkins", "FakeJob", "Fault"]

_FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
_BAD_NAME = re.compile(r"[?*/\\%!@#$^&|<>\[\]:;\x00-\x1f]")
_CLASSES = {
    "flow-definition": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
    "project": "hudson.model.FreeStyleProject",
    "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject": (
        "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
    ),
    _FOLDER: _FOLDER,
}


@dataclass
class FakeBuild:
    """A build and its script: each look at its log shows one more piece of `log`, then it ends with `outcome`."""

    number: int
    queue_id: int
    parameters: dict[str, str]
    log: list[bytes]
    outcome: str
    shown: int = 0
    description: str | None = None
    display_name: str = ""
    stopped: bool = False

    @property
    def is_running(self) -> bool:
        return self.shown < len(self.log) and not self.stopped

    @property
    def result(self) -> str | None:
        return None if self.is_running else "ABORTED" if self.stopped else self.outcome


@dataclass
class FakeJob:
    """A job or folder by its full name; `log`, `outcome` and `queue_looks` are the script of its builds."""

    name: str
    config: str
    log: list[bytes] = field(default_factory=lambda: [b"Started\n", b"Finished: SUCCESS\n"])
    outcome: str = "SUCCESS"
    queue_looks: int = 1
    cancelled: bool = False
    forgets_queue: bool = False
    builds: list[FakeBuild] = field(default_factory=list)
    credentials: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> ET.Element:
        return ET.fromstring(self.config.replace("version='1.1'", "version='1.0'").encode())

    @property
    def kind(self) -> str:
        return _CLASSES[self.root.tag]

    @property
    def disabled(self) -> bool:
        return self.root.findtext("disabled") == "true"

    @property
    def parameters(self) -> list[str]:
        path = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions/*/name"
        return [element.text or "" for element in self.root.iterfind(path)]


@dataclass
class _Item:
    number: int
    job: FakeJob
    parameters: dict[str, str]
    looks: int
    build: int | None = None


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path" matches: a status, or with None the connection
    ends; `after` first lets the request take effect."""

    pattern: str
    status: int | None
    times: int = 1
    after: bool = False


class FakeJenkins:
    """A running fake; a context manager. `tokens` and `passwords` map user names to what logs them in."""

    version = "2.492.1"

    def __init__(self, *, tokens: dict[str, str] | None = None, passwords: dict[str, str] | None = None) -> None:
        self.tokens, self.passwords = tokens or {}, passwords or {}
        self.crumbs_on = True
        self.jobs: dict[str, FakeJob] = {}
        self.plugins = ["workflow-aggregator", "pipeline-groovy-lib", "credentials-binding", "git", "cloudbees-folder"]
        self.denied: dict[str, str] = {}  # path pattern: permission that everybody lacks there
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self._sessions: dict[str, tuple[str, str]] = {}  # cookie: user, crumb
        self._items: list[_Item] = []
        self._lock = threading.RLock()
        self._server = HttpServer(self._serve)
        self.url = self._server.url

    def __enter__(self) -> FakeJenkins:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        assert not self._server.failures, self._server.failures

    def drop_sessions(self) -> None:
        """Forget all sessions and their crumbs, and close every connection."""
        with self._lock:
            self._sessions.clear()
        self._server.close_connections()

    def add(self, name: str, config: str, **script: Any) -> FakeJob:
        """A job that is there already."""
        self.jobs[name] = FakeJob(name, config, **script)
        return self.jobs[name]

    # -- the gate ------------------------------------------------------------------------------------------------

    def _serve(self, exchange: Exchange) -> Reply | None:
        line = f"{exchange.method} {exchange.target}"
        with self._lock:
            self.requests.append(line)
            fault = next((each for each in self.faults if each.times and re.search(each.pattern, line)), None)
            if fault is not None:
                fault.times -= 1
                if fault.after:
                    self._answer(exchange)
                return None if fault.status is None else _page(fault.status, "Starting Jenkins")
            return self._answer(exchange)

    def _answer(self, exchange: Exchange) -> Reply:
        body = exchange.body()
        user, by_token = self._user(exchange)
        if user is None:
            return _page(401, "Unauthorized")
        cookie, session = self._session(exchange, user)
        is_ours = exchange.headers.get("jenkins-crumb") == session[1] and session[0] == user
        if exchange.method == "POST" and self.crumbs_on and not by_token and not is_ours:
            return self._finished(_page(403, "No valid crumb was included in the request"), cookie)
        for pattern, permission in self.denied.items():
            if re.search(pattern, exchange.target):
                headers = {"X-You-Are-Authenticated-As": user, "X-Required-Permission": permission}
                return self._finished(_page(403, "Forbidden", headers), cookie)
        if user == "anonymous" and "whoAmI" not in exchange.path and "crumb" not in exchange.path:
            headers = {"X-Required-Permission": "hudson.model.Hudson.Read"}
            return self._finished(_page(403, "Authentication required", headers), cookie)
        return self._finished(self._route(exchange, user, session, body), cookie)

    def _finished(self, reply: Reply, cookie: str) -> Reply:
        reply.headers.setdefault("X-Jenkins", self.version)
        reply.headers["Set-Cookie"] = f"JSESSIONID={cookie}; Path=/"
        return reply

    def _user(self, exchange: Exchange) -> tuple[str | None, bool]:
        scheme, _, value = exchange.headers.get("authorization", "").partition(" ")
        if not scheme:
            return "anonymous", False
        name, _, secret = base64.b64decode(value).decode().partition(":")
        if self.tokens.get(name) == secret:
            return name, True
        return (name, False) if self.passwords.get(name) == secret else (None, False)

    def _session(self, exchange: Exchange, user: str) -> tuple[str, tuple[str, str]]:
        match = re.search(r"JSESSIONID=(\w+)", exchange.headers.get("cookie", ""))
        if match and match[1] in self._sessions:
            return match[1], self._sessions[match[1]]
        cookie = secrets.token_hex(8)
        self._sessions[cookie] = (user, secrets.token_hex(16))
        return cookie, self._sessions[cookie]

    # -- routes --------------------------------------------------------------------------------------------------

    def _route(self, exchange: Exchange, user: str, session: tuple[str, str], body: bytes) -> Reply:
        path, method = exchange.path.strip("/"), exchange.method
        if path == "whoAmI/api/json":
            known = user != "anonymous"
            return _json({"name": user, "authenticated": known, "anonymous": not known})
        if path == "crumbIssuer/api/json":
            return self._crumb(session)
        if path == "pluginManager/api/json":
            return _json({"plugins": [{"shortName": each, "version": "1", "active": True} for each in self.plugins]})
        if path == "api/json":
            return _json({"mode": "NORMAL"})
        if path in ("", "newJob"):
            return _page(200, "Jenkins")
        if path == "queue/api/json":
            return _json({"items": [_queue_document(each) for each in self._items if each.build is None]})
        if match := re.fullmatch(r"queue/item/(\d+)/api/json", path):
            return self._queue_item(int(match[1]))
        if path == "createItem" and method == "POST":
            return self._create(None, exchange, body)
        parts = re.match(r"((?:job/[^/]+/?)+)(.*)", path)
        if parts is None:
            return _page(404, "Not Found")
        name = "/".join(unquote(part) for part in re.findall(r"job/([^/]+)", parts[1]))
        job = self.jobs.get(name)
        return _page(404, "Not Found") if job is None else self._job(job, parts[2], exchange, body)

    def _crumb(self, session: tuple[str, str]) -> Reply:
        if not self.crumbs_on:
            return _page(404, "Not Found")
        kind = "hudson.security.csrf.DefaultCrumbIssuer"
        return _json({"_class": kind, "crumb": session[1], "crumbRequestField": "Jenkins-Crumb"})

    def _job(self, job: FakeJob, rest: str, exchange: Exchange, body: bytes) -> Reply:
        method, rest = exchange.method, rest.strip("/")
        if rest == "api/json":
            return self._describe_job(job)
        if rest == "config.xml" and method == "GET":
            text = job.config.replace("version='1.0'", "version='1.1'")
            return Reply(200, {"Content-Type": "application/xml"}, text.encode())
        if rest == "config.xml":
            return self._reconfigure(job, exchange, body)
        if rest == "newJob":
            return _page(200, "New Item")
        if rest == "createItem" and method == "POST":
            return self._create(job, exchange, body)
        if rest in ("build", "buildWithParameters"):
            return self._build(job, rest, exchange)
        if rest.startswith("credentials/store/folder/domain/_/"):
            return self._credentials(job, rest.partition("domain/_/")[2], exchange, body)
        if match := re.fullmatch(r"(\d+)/(.*)", rest):
            return self._run(job, int(match[1]), match[2], exchange, body)
        return _page(404, "Not Found")

    def _describe_job(self, job: FakeJob) -> Reply:
        definitions = [{"name": name} for name in job.parameters]
        document = {
            "_class": job.kind,
            "fullName": job.name,
            "name": job.name.rpartition("/")[2],
            "url": f"{self.url}/job/{job.name.replace('/', '/job/')}/",
            "buildable": not job.disabled,
            "property": [{}, {"parameterDefinitions": definitions}] if definitions else [{}],
            "builds": [
                {"number": each.number, "queueId": each.queue_id, "actions": [{}, _parameters(each.parameters)]}
                for each in reversed(job.builds)
            ],
        }
        if job.kind == _FOLDER:
            del document["buildable"]
        return _json(document)

    def _create(self, parent: FakeJob | None, exchange: Exchange, body: bytes) -> Reply:
        name = exchange.argument("name") or ""
        full = f"{parent.name}/{name}" if parent else name
        if not name or _BAD_NAME.search(name) or name in (".", ".."):
            return _failure(f"'{name}' is an unsafe name")
        if full in self.jobs:
            return _failure(f"A job already exists with the name '{name}'")
        if parent is not None and parent.kind != _FOLDER:
            return _page(404, "Not Found")
        if exchange.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            form = dict(parse_qsl(body.decode()))
            if form.get("mode") != _FOLDER:
                return _failure("No mode given")
            self.add(full, f"<{_FOLDER}/>")
            return Reply(302, {"Location": f"{self.url}/"})
        return self._store(full, exchange, body)

    def _store(self, full: str, exchange: Exchange, body: bytes) -> Reply:
        if "xml" not in exchange.headers.get("content-type", ""):
            return _page(400, "Bad Request")
        try:
            kind = ET.fromstring(body).tag
        except ET.ParseError:
            return _page(500, "Oops!")
        if kind not in _CLASSES:
            return _page(500, "Oops!")
        known = self.jobs.get(full)
        # Jenkins writes the plug-in's version into what it keeps
        text = body.decode().replace(f"<{kind}>", f'<{kind} plugin="x@1">')
        if known:
            known.config = text
        else:
            self.add(full, text)
        return Reply(200)

    def _reconfigure(self, job: FakeJob, exchange: Exchange, body: bytes) -> Reply:
        return self._store(job.name, exchange, body)

    # -- builds --------------------------------------------------------------------------------------------------

    def _build(self, job: FakeJob, how: str, exchange: Exchange) -> Reply:
        if exchange.method != "POST":
            return _page(405, "Method Not Allowed")
        if job.disabled:
            return _page(409, f"{job.name} is not buildable")
        if how == "build" and job.parameters:
            return _page(400, "Nothing is submitted")
        if how == "buildWithParameters" and not job.parameters:
            return _page(400, f"{job.name} is not parameterized")
        values = {name: value for name, value in exchange.query if name in job.parameters}
        parameters = {name: values.get(name, "") for name in job.parameters}
        for item in self._items:
            if item.job is job and item.build is None and item.parameters == parameters:
                return Reply(303, {"Location": f"{self.url}/queue/item/{item.number}/"})
        item = _Item(len(self._items) + 7, job, parameters, job.queue_looks)
        self._items.append(item)
        return Reply(201, {"Location": f"{self.url}/queue/item/{item.number}/"})

    def _queue_item(self, number: int) -> Reply:
        item = next((each for each in self._items if each.number == number), None)
        if item is None:
            return _page(404, "Not Found")
        if item.looks > 0:
            item.looks -= 1
        elif item.build is None and not item.job.cancelled:
            item.build = len(item.job.builds) + 1
            build = FakeBuild(item.build, number, item.parameters, list(item.job.log), item.job.outcome)
            item.job.builds.append(build)
        if item.build is not None and item.job.forgets_queue:
            return _page(404, "Not Found")
        return _json(_queue_document(item))

    def _run(self, job: FakeJob, number: int, rest: str, exchange: Exchange, body: bytes) -> Reply:
        build = next((each for each in job.builds if each.number == number), None)
        if build is None:
            return _page(404, "Not Found")
        if rest == "api/json":
            return _json(self._build_document(job, build))
        if rest == "logText/progressiveText":
            return _console(build, int(exchange.argument("start") or 0))
        if rest == "stop" and exchange.method == "POST":
            build.stopped = True
            return Reply(302, {"Location": f"{self.url}/"})
        if rest == "configSubmit" and exchange.method == "POST":
            form = json.loads(dict(parse_qsl(body.decode(), keep_blank_values=True))["json"])
            build.display_name, build.description = form["displayName"], form["description"]
            return Reply(302, {"Location": f"{self.url}/"})
        return _page(404, "Not Found")

    def _build_document(self, job: FakeJob, build: FakeBuild) -> dict[str, Any]:
        return {
            "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
            "number": build.number,
            "url": f"{self.url}/job/{job.name.replace('/', '/job/')}/{build.number}/",
            "queueId": build.queue_id,
            "building": build.is_running,
            "inProgress": build.is_running,
            "result": build.result,
            "displayName": build.display_name or f"#{build.number}",
            "description": build.description,
        }

    # -- credentials ---------------------------------------------------------------------------------------------

    def _credentials(self, job: FakeJob, rest: str, exchange: Exchange, body: bytes) -> Reply:
        if rest == "api/json":
            return _json({"credentials": [{"id": each} for each in job.credentials]})
        if rest == "createCredentials" and exchange.method == "POST":
            name = ET.fromstring(body).findtext("id") or ""
            if name in job.credentials:
                return _page(409, "Conflict")
            job.credentials[name] = body.decode()
            return Reply(200)
        match = re.fullmatch(r"credential/([^/]+)/(config\.xml|doDelete)", rest)
        if match is None or unquote(match[1]) not in job.credentials or exchange.method != "POST":
            return _page(404, "Not Found")
        if match[2] == "doDelete":
            del job.credentials[unquote(match[1])]
            return Reply(302, {"Location": f"{self.url}/"})
        job.credentials[unquote(match[1])] = body.decode()
        return Reply(200)


def _queue_document(item: _Item) -> dict[str, Any]:
    document: dict[str, Any] = {"id": item.number, "actions": [{}, _parameters(item.parameters)], "why": None}
    if item.build is not None:
        document |= {"_class": "hudson.model.Queue$LeftItem", "executable": {"number": item.build}}
    elif item.looks == 0 and item.job.cancelled:
        document |= {"_class": "hudson.model.Queue$LeftItem", "cancelled": True}
    else:
        document |= {"_class": "hudson.model.Queue$WaitingItem", "why": "In the quiet period"}
    return document


def _parameters(values: dict[str, str]) -> dict[str, Any]:
    return {"parameters": [{"name": name, "value": value} for name, value in values.items()]} if values else {}


def _console(build: FakeBuild, start: int) -> Reply:
    running = build.is_running
    if running:
        build.shown += 1
    content = b"".join(build.log[: build.shown])
    headers = {"Content-Type": "text/plain;charset=utf-8", "X-Text-Size": str(len(content))}
    if build.is_running:
        headers["X-More-Data"] = "true"
    return Reply(200, headers, content[start:])


def _json(document: dict[str, Any]) -> Reply:
    return Reply(200, {"Content-Type": "application/json;charset=utf-8"}, json.dumps(document).encode())


def _page(status: int, title: str, headers: dict[str, str] | None = None) -> Reply:
    html = f"<html><head><title>{title}</title></head><body>{title}</body></html>"
    return Reply(status, {"Content-Type": "text/html;charset=utf-8", **(headers or {})}, html.encode())


def _failure(message: str) -> Reply:
    return _page(400, "Error", {"X-Error": message})
