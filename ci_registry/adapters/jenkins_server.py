"""A Jenkins server over its HTTP API, through the `python-jenkins` package; the only module that imports it.

What the package leaves to its user is done here: every request has a time limit, reading is repeated when the server
is starting up, a crumb that went stale with its session is fetched anew, the answer 303 of a build that waits already
is understood, and each failure comes back as one of `errors.py`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin

from ..errors import (
    AccessError,
    CiRegistryError,
    ConflictError,
    NotFoundError,
    RefusedError,
    RemoteError,
    TlsError,
    TransportError,
    UsageError,
)
from ..redaction import redact, remember_secret
from .jenkins_answers import FOLDER, Build, Console, JobInfo, QueueItem, Started, job_path

__all__ = ["JenkinsServer"]

T = TypeVar("T")

_RETRY_STATUSES = (502, 503, 504)
_LONGEST_REASON = 300  # characters of what a server said that go into a message
_XML = {"Content-Type": "text/xml; charset=utf-8"}


class JenkinsServer:
    """One server and one user. Not for several threads at once (python-jenkins's session is not)."""

    def __init__(
        self,
        url: str,
        username: str | None = None,
        token: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        ca: str | None = None,
        retries: int = 4,
    ) -> None:
        """`token` is an API token or a password; `ca` a PEM file; `retries` how often reading is repeated."""
        remember_secret(token or "")
        self.url = url.rstrip("/")
        self.username = username if token else None
        self._client = _client(self.url, username, token, timeout_seconds, retries)
        # PYTHONHTTPSVERIFY=0 would switch verification off unseen
        self._client._session.verify = ca or True

    # -- the server ----------------------------------------------------------------------------------------------

    def identity(self) -> tuple[str, dict[str, Any]]:
        """The server's version and who we are to it (`name`, `authenticated`, `authorities`)."""
        response = self._get("asking who we are", "whoAmI/api/json")
        version = response.headers.get("X-Jenkins")
        if not version:
            raise RemoteError(
                f"asking {self.url} who we are: the answer has no X-Jenkins header", hint="is this Jenkins's address?"
            )
        return version, self._json("asking who we are", response)

    def has_crumbs(self) -> bool:
        """Does the server ask for a crumb with each change?"""
        return self._found("asking for a crumb", "crumbIssuer/api/json") is not None

    def may(self, path: str) -> tuple[bool, str]:
        """Whether a page can be opened, and if not which permission it asks for ("" where it does not say)."""
        try:
            self._get(f"opening {path or 'the start page'}", path)
        except AccessError as error:
            response = _response_of(error)
            return False, response.headers.get("X-Required-Permission", "") if response is not None else ""
        return True, ""

    def plugins(self) -> dict[str, str]:
        """Versions of the active plug-ins by short name. Raises AccessError where that needs an administrator."""
        path = "pluginManager/api/json?tree=plugins[shortName,version,active]"
        found = self._json("listing the plug-ins", self._get("listing the plug-ins", path))
        return {each["shortName"]: each.get("version", "") for each in found.get("plugins", []) if each.get("active")}

    # -- jobs ----------------------------------------------------------------------------------------------------

    def job(self, name: str) -> JobInfo | None:
        """What a job is; None if there is none (or we may not see it)."""
        tree = "_class,fullName,url,buildable,property[parameterDefinitions[name]]"
        response = self._found(f"reading job {name}", f"{job_path(name)}/api/json?tree={tree}")
        if response is None:
            return None
        info = self._json(f"reading job {name}", response)
        properties = [each for each in info.get("property", []) if each]
        names = [one["name"] for each in properties for one in each.get("parameterDefinitions", [])]
        url = info.get("url") or f"{self.url}/{job_path(name)}/"
        return JobInfo(name, info.get("_class", ""), url, bool(info.get("buildable")), tuple(names))

    def job_config(self, name: str) -> str:
        """A job's config.xml."""
        return self._do(f"reading the definition of {name}", lambda: str(self._client.get_job_config(name)))

    def create_folder(self, name: str) -> None:
        """Make one folder; those above it must exist."""
        # the package would call every failure "probably it already exists"
        data = {"name": name.rpartition("/")[2], "mode": FOLDER}
        self._post(f"creating folder {name}", _create_path(name), data=data)

    def create_job(self, name: str, config_xml: str) -> None:
        """Create a job. Raises UsageError with Jenkins's words for a bad or taken name."""
        self._post(f"creating job {name}", _create_path(name), data=config_xml.encode("utf-8"), headers=_XML)

    def change_job(self, name: str, config_xml: str) -> None:
        """Replace a job's definition."""
        self._do(f"changing job {name}", lambda: self._client.reconfig_job(name, config_xml))

    # -- builds --------------------------------------------------------------------------------------------------

    def start(self, job: str, parameters: Mapping[str, str], *, parameterised: bool) -> Started:
        """Queue a build. Sent once: after a TransportError it is not known whether the build was queued."""
        attempt = f"starting {job}"
        if parameterised:
            path = f"{job_path(job)}/buildWithParameters"
            path += f"?{urlencode(parameters)}" if parameters else "?delay=0sec"  # an empty form would be refused
        else:
            path = f"{job_path(job)}/build"
        # redirects are not followed: the 303 for an equal build in the queue would lose its Location
        response = self._post(attempt, path, follow=False)
        location = response.headers.get("Location", "")
        match = re.search(r"/queue/item/(\d+)/?$", location)
        if match is None:
            raise RemoteError(f"{attempt} on {self.url}: the answer {response.status_code} names no queue item")
        return Started(int(match[1]), response.status_code == 303)

    def queue_item(self, number: int) -> QueueItem | None:
        """An item of the queue; None when Jenkins has forgotten it, five minutes after it left."""
        attempt = f"reading queue item {number}"
        response = self._found(attempt, f"queue/item/{number}/api/json")
        if response is None:
            return None
        item = self._json(attempt, response)
        executable = item.get("executable") or {}
        return QueueItem(number, executable.get("number"), bool(item.get("cancelled")), item.get("why") or "")

    def find_queued(self, parameter: str, value: str) -> int | None:
        """The number of the queue item with that value of a parameter."""
        tree = "items[id,actions[parameters[name,value]]]"
        attempt = "searching the queue"
        items = self._json(attempt, self._get(attempt, f"queue/api/json?tree={tree}")).get("items", [])
        return next((item["id"] for item in items if _has_parameter(item, parameter, value)), None)

    def find_build(
        self, job: str, *, queue_number: int | None = None, parameter: tuple[str, str] | None = None
    ) -> int | None:
        """The build that a queue item became, or the one with that name and value of a parameter."""
        tree = "builds[number,queueId,actions[parameters[name,value]]]{0,50}"
        attempt = f"searching the builds of {job}"
        builds = self._json(attempt, self._get(attempt, f"{job_path(job)}/api/json?tree={tree}")).get("builds", [])
        for build in builds:
            if queue_number is not None and build.get("queueId") == queue_number:
                return int(build["number"])
            if parameter is not None and _has_parameter(build, *parameter):
                return int(build["number"])
        return None

    def build(self, job: str, number: int) -> Build:
        """The state of one build."""
        attempt = f"reading build {number} of {job}"
        response = self._get(attempt, f"{job_path(job)}/{number}/api/json?depth=0")
        info = self._json(attempt, response)
        return Build(
            number,
            info.get("url") or f"{self.url}/{job_path(job)}/{number}/",
            bool(info.get("building")) or bool(info.get("inProgress")),
            info.get("result"),
            info.get("displayName") or f"#{number}",
            info.get("description") or "",
            info.get("queueId") or 0,
        )

    def console(self, job: str, number: int, start: int) -> Console:
        """The log of a build from byte `start` on."""
        path = f"{job_path(job)}/{number}/logText/progressiveText?start={start}"
        response = self._get(f"reading the log of build {number} of {job}", path)
        size = response.headers.get("X-Text-Size", "")
        following = int(size) if size.isdigit() else start + len(response.content)
        return Console(response.content, following, response.headers.get("X-More-Data") == "true")

    def stop(self, job: str, number: int) -> None:
        """Abort a build."""
        self._do(f"stopping build {number} of {job}", lambda: self._client.stop_build(job, number))

    def describe(self, job: str, number: int, *, display_name: str, description: str) -> None:
        """Set a build's display name and description."""
        document = json.dumps({"displayName": display_name, "description": description})
        self._post(f"describing build {number} of {job}", f"{job_path(job)}/{number}/configSubmit", {"json": document})

    # -- credentials of a folder ---------------------------------------------------------------------------------

    def credential_ids(self, folder: str) -> list[str]:
        """The ids of the credentials that a folder keeps. Secrets can't be read."""
        attempt = f"listing the credentials of {folder}"
        found = self._json(attempt, self._get(attempt, f"{_store(folder)}/api/json?tree=credentials[id]"))
        return sorted(str(each["id"]) for each in found.get("credentials", []))

    def create_credential(self, folder: str, config_xml: str, name: str) -> None:
        data = config_xml.encode("utf-8")
        self._post(f"creating credential {name} in {folder}", f"{_store(folder)}/createCredentials", data, headers=_XML)

    def change_credential(self, folder: str, config_xml: str, name: str) -> None:
        path = f"{_store(folder)}/credential/{quote(name, safe='')}/config.xml"
        self._post(f"changing credential {name} in {folder}", path, config_xml.encode("utf-8"), headers=_XML)

    def delete_credential(self, folder: str, name: str) -> None:
        path = f"{_store(folder)}/credential/{quote(name, safe='')}/doDelete"
        self._post(f"deleting credential {name} in {folder}", path)

    # -- requests ------------------------------------------------------------------------------------------------

    def _get(self, attempt: str, path: str) -> Any:
        return self._do(attempt, lambda: self._client.jenkins_request(self._request("GET", path)))

    def _found(self, attempt: str, path: str) -> Any | None:
        """The answer, or None for 404."""
        try:
            return self._get(attempt, path)
        except NotFoundError:
            return None

    def _post(
        self,
        attempt: str,
        path: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
    ) -> Any:
        def send() -> Any:
            request = self._request("POST", path, data=data, headers=dict(headers or {}))
            return self._client.jenkins_request(request) if follow else self._unfollowed(request)

        return self._do(attempt, send)

    def _request(self, method: str, path: str, **extra: Any) -> Any:
        import jenkins

        return jenkins.requests.Request(method, urljoin(self._client.server, path), **extra)

    def _unfollowed(self, request: Any) -> Any:
        client = self._client
        client._maybe_add_auth()
        client.maybe_add_crumb(request)
        prepared = client._session.prepare_request(request)
        settings = client._session.merge_environment_settings(prepared.url, {}, None, client._session.verify, None)
        answer = client._session.send(prepared, timeout=client.timeout, allow_redirects=False, **settings)
        answer.raise_for_status()
        return answer

    def _do(self, attempt: str, work: Callable[[], T]) -> T:
        """Do it, once more with a fresh crumb if the old one went with its session; translate what fails."""
        import jenkins

        failures = (jenkins.JenkinsException, jenkins.requests.RequestException)
        try:
            return work()
        except failures as error:
            if not _is_stale_crumb(_response_of(error)):
                raise self._translated(attempt, error) from error
        self._client.crumb = None
        try:
            return work()
        except failures as error:
            raise self._translated(attempt, error) from error

    def _json(self, attempt: str, response: Any) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError as error:
            raise self._not_jenkins(attempt) from error
        if not isinstance(document, dict):
            raise self._not_jenkins(attempt)
        return document

    def _not_jenkins(self, attempt: str) -> RemoteError:
        return RemoteError(f"{attempt} on {self.url}: the answer is not Jenkins's JSON", hint="check the address")

    def _translated(self, attempt: str, error: Exception) -> CiRegistryError:
        import jenkins

        attempt = f"{attempt} on {self.url}"
        response = _response_of(error)
        if response is not None:
            return self._refused(attempt, response)
        exceptions = jenkins.requests.exceptions
        if isinstance(error, exceptions.SSLError):
            return TlsError(f"{attempt}: {_reason(error)}", hint="name the server's CA with `jenkins.ca`")
        if isinstance(error, (exceptions.InvalidURL, exceptions.InvalidSchema, exceptions.MissingSchema)):
            return UsageError(f"{attempt}: that is no address", hint="correct `jenkins.url`")
        if isinstance(error, (jenkins.TimeoutException, exceptions.Timeout)) or "timed out" in str(error):
            limit = f"no answer within {self._client.timeout:g} seconds"
            return TransportError(f"{attempt}: {limit}", hint="is it up? `jenkins.timeout_seconds` sets the limit")
        return TransportError(f"{attempt}: {_reason(error)}", hint="check the address, and that the server is up")

    def _refused(self, attempt: str, response: Any) -> CiRegistryError:
        status, said = response.status_code, _said(response)
        message = f"{attempt}: {status} {said}".rstrip()
        if status == 401 or (status == 403 and self.username is None):
            return AccessError(message, hint=_LOGIN_HINT)
        if status == 403:
            needed = response.headers.get("X-Required-Permission")
            permission = f"{needed.rpartition('.')[2]} ({needed})" if needed else "permission"
            return AccessError(message, hint=f"user {self.username} needs {permission} there")
        if status == 404:
            return NotFoundError(message, hint="check the name; a job that this user may not see looks the same")
        if status == 409:
            return ConflictError(message, hint="is the job disabled, or the name taken?")
        if status >= 500:
            return RemoteError(message, hint="see the server's log; running it again may help")
        if status == 400:
            return UsageError(message, hint="correct the name or definition")
        return RefusedError(message, hint="is this Jenkins's address?")


_LOGIN_HINT = (
    "give `jenkins.username` and an API token of that user: `ci-registry jenkins login`, jenkins.token_file, "
    "or CI_REGISTRY_JENKINS_TOKEN"
)


def _create_path(name: str) -> str:
    folder, _, short = name.rpartition("/")
    return f"{job_path(folder) + '/' if folder else ''}createItem?name={quote(short, safe='')}"


def _store(folder: str) -> str:
    return f"{job_path(folder)}/credentials/store/folder/domain/_"


def _client(url: str, username: str | None, token: str | None, timeout_seconds: float, retries: int) -> Any:
    from urllib3.util import Retry

    import jenkins

    # the package logs the values of these headers, which may be secrets
    extra = os.environ.pop("JENKINS_API_EXTRA_HEADERS", None)
    try:
        client = jenkins.Jenkins(url, username, token, timeout=timeout_seconds)
    finally:
        if extra is not None:
            os.environ["JENKINS_API_EXTRA_HEADERS"] = extra
    for line in (extra or "").splitlines():
        header, colon, value = line.partition(":")
        if colon:
            remember_secret(value.strip())
            client._session.headers[header.strip()] = value.strip()
    del client._auths[1:]  # no probing with Kerberos, which costs a request for each scheme
    # its own adapter is mounted on a shorter prefix than the session's default one, and so never used
    again = Retry(
        total=retries,
        read=min(retries, 1),
        status_forcelist=_RETRY_STATUSES,
        allowed_methods=["GET"],
        backoff_factor=0.25,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        client._session.mount(scheme, jenkins.HTTPAdapter(max_retries=again))
    return client


def _response_of(error: BaseException | None) -> Any | None:
    """The HTTP answer behind an exception; the package raises its own while it handles the one that carries it."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response
        error = error.__cause__ or error.__context__
    return None


def _is_stale_crumb(response: Any | None) -> bool:
    return response is not None and response.status_code == 403 and "No valid crumb" in response.text


def _said(response: Any) -> str:
    """What a server gave as its reason: the X-Error header, else the page's title; bodies may echo parameters."""
    reason = response.headers.get("X-Error", "")
    if not reason:
        title = re.search(r"<title>([^<]*)</title>", response.text or "", re.IGNORECASE)
        reason = title[1] if title else "No valid crumb" if _is_stale_crumb(response) else response.reason or ""
    return _short(reason)


def _reason(error: BaseException) -> str:
    """The innermost words of a failed connection; the outer ones hold the whole URL with its parameters."""
    inner = error
    while inner.args and isinstance(inner.args[0], BaseException):
        inner = inner.args[0]
    deepest: BaseException = getattr(inner, "reason", None) or inner
    text = str(deepest.args[-1]) if deepest.args else type(deepest).__name__
    return _short(re.sub(r"^<[^>]*>:\s*", "", text))


def _short(text: str) -> str:
    return redact(" ".join(text.split()))[:_LONGEST_REASON]


def _has_parameter(item: Mapping[str, Any], name: str, value: str) -> bool:
    actions = [action for action in item.get("actions", []) if action]
    given = [one for action in actions for one in action.get("parameters", [])]
    return any(one.get("name") == name and one.get("value") == value for one in given)
