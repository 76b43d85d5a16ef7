"""`ci-registry jenkins` against a strict fake Jenkins over HTTP."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ci_registry.adapters.jenkins_server import JenkinsServer
from ci_registry.adapters.keychain import Keychain
from ci_registry.errors import (
    AccessError,
    BuildFailedError,
    ConflictError,
    Interrupted,
    NotFoundError,
    RemoteError,
    TransportError,
    UsageError,
)
from ci_registry.ops.builds import build_error, trigger
from ci_registry.ops.config import Config, JenkinsSettings
from ci_registry.ops.jenkins_login import forget_token, open_server, server_login, server_settings, store_token
from ci_registry.ops.job_xml import JobDefinition, JobParameter, config_xml, read_jobs
from ci_registry.ops.jobs import check, describe, put_credential, upsert_job
from ci_registry.transport.retry import Cancel
from tests.support.fake_jenkins import FakeJenkins, Fault
from tests.support.secrets import LeakSearch
from tests.unit.credentials.backends import MemoryKeyring

TOKEN = "11d0f4b2a7c9e8f6d5-token"
PASSWORD = "correct horse battery"
PROMOTE = JobDefinition(name="team/promote", script=__file__, parameters=(JobParameter(name="IMAGE"),))


@pytest.fixture
def jenkins() -> Iterator[FakeJenkins]:
    with FakeJenkins(tokens={"ci": TOKEN}, passwords={"pat": PASSWORD}) as server:
        yield server


@pytest.fixture
def server(jenkins: FakeJenkins) -> JenkinsServer:
    """Logged in with a password, for whom crumbs count."""
    return JenkinsServer(jenkins.url, "pat", PASSWORD, timeout_seconds=10)


def job_xml(*parameters: str, **how: Any) -> str:
    declared = tuple(JobParameter(name=name) for name in parameters)
    return config_xml(JobDefinition(name="x", script=__file__, parameters=declared, **how))


def run(server: JenkinsServer, job: str, parameters: dict[str, str] | None = None, **how: Any) -> Any:
    return trigger(server, job, parameters or {}, cancel=Cancel(), **how)


# -- check -----------------------------------------------------------------------------------------------------------


def test_check_names_server_user_and_nothing_missing(jenkins: FakeJenkins) -> None:
    server = JenkinsServer(jenkins.url, "ci", TOKEN)
    report = check(server, credential="test")
    assert (report.version, report.username, report.authenticated) == ("2.492.1", "ci", True)
    assert report.crumbs
    assert report.problems == []
    assert any("junit" in note for note in report.notes)


def test_check_names_a_missing_permission_and_plugin(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.denied["newJob"] = "hudson.model.Item.Create"
    jenkins.plugins.remove("git")
    report = check(server, credential="test")
    assert report.problems == [
        "this user may not create jobs in the root folder: it needs hudson.model.Item.Create",
        "plug-in git is not installed",
    ]


def test_check_as_nobody_says_so(jenkins: FakeJenkins) -> None:
    report = check(JenkinsServer(jenkins.url), credential="none")
    assert not report.authenticated
    assert "no token was found" in report.problems[0]
    assert "hudson.model.Hudson.Read" in report.problems[1]


def test_a_wrong_token_is_an_access_error_with_a_cure(jenkins: FakeJenkins) -> None:
    with pytest.raises(AccessError, match="401 Unauthorized") as caught:
        check(JenkinsServer(jenkins.url, "ci", "wrong-token"), credential="test")
    assert "ci-registry jenkins login" in caught.value.hint


def test_an_address_that_is_not_jenkins_is_named(docker_registry: Any) -> None:
    with pytest.raises((RemoteError, NotFoundError), match="who we are"):
        check(JenkinsServer(docker_registry.url), credential="none")


def test_nobody_there_is_a_transport_error_without_a_retry_storm(unused_port: int) -> None:
    server = JenkinsServer(f"http://127.0.0.1:{unused_port}", retries=1)
    with pytest.raises(TransportError, match=r"[Cc]onnection refused"):
        server.identity()


@pytest.fixture
def unused_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_server_that_does_not_answer_is_given_up_after_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = JenkinsServer(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2, retries=0)
        with pytest.raises(TransportError, match=r"no answer within 0.2 seconds"):
            server.identity()


def test_reading_is_repeated_while_the_server_starts(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.faults.append(Fault("GET /whoAmI", 503, times=2))
    assert server.identity()[0] == "2.492.1"
    assert sum("whoAmI" in line for line in jenkins.requests) == 3


def test_verification_is_not_switched_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    assert JenkinsServer("https://jenkins.example.org")._client._session.verify is True


def test_extra_headers_are_sent_but_not_logged(
    jenkins: FakeJenkins, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JENKINS_API_EXTRA_HEADERS", "X-Proxy-Secret: hunter2hunter2")
    server = JenkinsServer(jenkins.url, "ci", TOKEN)
    server.identity()
    assert server._client._session.headers["X-Proxy-Secret"] == "hunter2hunter2"
    assert "hunter2" not in caplog.text


# -- login -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def keychain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Keychain:
    backend = MemoryKeyring()
    monkeypatch.setattr("keyring.get_keyring", lambda: backend)
    return Keychain(lock_file=tmp_path / "lock")


def test_the_keyring_serves_the_token_that_was_kept_for_the_server(jenkins: FakeJenkins, keychain: Keychain) -> None:
    config = Config({"jenkins": {"url": jenkins.url}}, environ={})
    assert open_server(config, {}, keychain)[1].source == "none"
    assert store_token(jenkins.url, "ci", TOKEN, keychain) == "keyring (MemoryKeyring)"
    server, login = open_server(config, {}, keychain)
    assert (login.username, login.source) == ("ci", "keyring (MemoryKeyring)")
    assert server.identity()[1]["authenticated"]
    assert TOKEN not in repr(login)
    assert forget_token(jenkins.url, None, keychain)
    assert not forget_token(jenkins.url, None, keychain)


def test_environment_and_configuration_come_before_the_keyring(keychain: Keychain, tmp_path: Path) -> None:
    store_token("http://j", "ci", TOKEN, keychain)
    named = {"CI_REGISTRY_JENKINS_USERNAME": "env", "CI_REGISTRY_JENKINS_TOKEN": "from-environment"}
    (tmp_path / "token").write_text("from-file\n")
    both = JenkinsSettings(url="http://j", username="ci", token_file=str(tmp_path / "token"))
    assert server_login(JenkinsSettings(url="http://j"), named, keychain).token == "from-environment"
    assert server_login(both, {}, keychain).token == "from-file"
    with pytest.raises(UsageError, match=r"a token for Jenkins \(environment variable .*but no user name"):
        server_login(JenkinsSettings(url="http://j"), {"CI_REGISTRY_JENKINS_TOKEN": "x"}, keychain)


def test_inside_a_build_its_own_server_is_meant() -> None:
    settings = server_settings(Config({}, environ={}), {"JENKINS_URL": "https://jenkins.example.org/ci/"})
    assert settings.url == "https://jenkins.example.org/ci"


def test_login_keeps_only_a_token_that_the_server_takes(jenkins: FakeJenkins, cli: Cli) -> None:
    refused = cli("jenkins", "login", "--password-stdin", stdin="wrong-token\n")
    assert refused.returncode == 3
    assert "401 Unauthorized" in refused.stderr
    without_keyring = cli("jenkins", "login", "--password-stdin", stdin=f"{TOKEN}\n")
    assert without_keyring.returncode == 3
    assert "no keyring backend on this machine" in without_keyring.stderr
    assert "jenkins.token_file" in without_keyring.stderr


# -- jobs ------------------------------------------------------------------------------------------------------------


def test_upsert_makes_folders_then_changes_then_leaves_alone(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = JobDefinition(name="a/b c/promote", script=__file__)
    created = upsert_job(server, job)
    assert (created.outcome, created.folders) == ("created", ["a", "a/b c"])
    assert jenkins.jobs["a/b c/promote"].kind.endswith("WorkflowJob")
    assert upsert_job(server, job).outcome == "unchanged"
    described = JobDefinition(name="a/b c/promote", script=__file__, description="x < y & z")
    assert upsert_job(server, described).outcome == "changed"
    assert jenkins.jobs["a/b c/promote"].root.findtext("description") == "x < y & z"


def test_a_dry_run_reads_and_writes_nothing(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    report = upsert_job(server, PROMOTE, dry_run=True)
    assert (report.outcome, report.folders) == ("created", ["team"])
    assert jenkins.jobs == {}
    assert not any(line.startswith("POST") for line in jenkins.requests)


def test_a_multibranch_job_keeps_its_source_id(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = JobDefinition(name="app", kind="multibranch", repository="https://git.example.org/app.git")
    upsert_job(server, job)
    fake = jenkins.jobs["app"]
    path = "sources/data/jenkins.branch.BranchSource/source/"
    assert fake.root.findtext(path + "remote") == "https://git.example.org/app.git"
    first = fake.root.findtext(path + "id")
    upsert_job(server, JobDefinition(**{**_fields(job), "description": "new"}))
    assert fake.root.findtext(path + "id") == first


def _fields(job: JobDefinition) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__struct_fields__}


def test_another_kind_of_job_of_that_name_is_a_conflict(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.add("app", "<project/>")
    with pytest.raises(ConflictError, match="there is a FreeStyleProject of that name"):
        upsert_job(server, JobDefinition(name="app", script=__file__))
    with pytest.raises(ConflictError, match=r"app on .* is a job, not a folder"):
        upsert_job(server, JobDefinition(name="app/promote", script=__file__))


def test_a_bad_name_comes_back_in_jenkins_words(server: JenkinsServer) -> None:
    with pytest.raises(UsageError, match="400 'what:now' is an unsafe name"):
        upsert_job(server, JobDefinition(name="what:now", script=__file__))


def test_a_missing_permission_is_named(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.denied["createItem"] = "hudson.model.Item.Create"
    with pytest.raises(AccessError, match="403 Forbidden") as caught:
        upsert_job(server, JobDefinition(name="app", script=__file__))
    assert caught.value.hint == "user pat needs Create (hudson.model.Item.Create) there"


def test_definitions_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(UsageError, match="either a script or a repository"):
        config_xml(JobDefinition(name="x"))
    with pytest.raises(UsageError, match="needs a repository"):
        config_xml(JobDefinition(name="x", kind="multibranch", script=__file__))


def test_a_jobs_file_names_the_place_of_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text("jobs:\n  team/x:\n    scrpt: Jenkinsfile\n")
    with pytest.raises(UsageError, match=r"line 3.*scrpt"):
        read_jobs(file)


# -- builds ----------------------------------------------------------------------------------------------------------


def test_a_build_is_followed_from_the_queue_to_its_result(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    log = ["gr\u00fcn ".encode()[:3], "gr\u00fcn ".encode()[3:] + b"one\n", b"two\n"]
    jenkins.add("team/promote", job_xml("IMAGE"), log=log, queue_looks=2)
    said: list[str] = []
    texts: list[str] = []
    report = run(server, "team/promote", {"IMAGE": "a b&c=d"}, say=said.append, on_text=texts.append)
    assert (report.build, report.result) == (1, "SUCCESS")
    assert build_error(report) is None
    assert "".join(texts) == "grün one\ntwo\n"
    assert "team/promote waits: In the quiet period" in said
    assert jenkins.jobs["team/promote"].builds[0].parameters == {"IMAGE": "a b&c=d"}


def test_a_job_without_parameters_and_one_with_defaults_can_be_started(
    jenkins: FakeJenkins, server: JenkinsServer
) -> None:
    jenkins.add("plain", job_xml())
    jenkins.add("defaults", job_xml("IMAGE"))
    assert run(server, "plain").result == "SUCCESS"
    assert run(server, "defaults").result == "SUCCESS"


@pytest.mark.parametrize("outcome", ["FAILURE", "UNSTABLE", "ABORTED"])
def test_a_build_that_does_not_succeed_is_an_error(jenkins: FakeJenkins, server: JenkinsServer, outcome: str) -> None:
    jenkins.add("app", job_xml(), outcome=outcome)
    report = run(server, "app")
    error = build_error(report)
    assert isinstance(error, BuildFailedError)
    assert error.exit_code == 9
    assert error.sentence() == f"build {jenkins.url}/job/app/1/ ended with {outcome}; its log says why."


def test_a_session_drop_in_the_middle_is_survived_and_the_job_is_started_once(
    jenkins: FakeJenkins,
) -> None:
    server = JenkinsServer(jenkins.url, "pat", PASSWORD, timeout_seconds=10, retries=0)
    job = jenkins.add("app", job_xml("CI_REGISTRY_REQUEST_ID"), log=[b"1\n", b"2\n", b"3\n"])
    server.identity()
    server.start("app", {"CI_REGISTRY_REQUEST_ID": "warm-up"}, parameterised=True)  # a crumb is known now
    jenkins.drop_sessions()
    dropped: list[str] = []

    def drop_once(text: str) -> None:
        if not dropped:
            dropped.append(text)
            jenkins.drop_sessions()
            jenkins.faults.append(Fault("GET ", 503, times=2))

    report = run(server, "app", on_text=drop_once)
    assert (report.result, len(dropped)) == ("SUCCESS", 1)
    started = [build for build in job.builds if build.parameters["CI_REGISTRY_REQUEST_ID"] != "warm-up"]
    assert len(started) == 1


def test_a_lost_answer_does_not_start_the_job_twice(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = jenkins.add("app", job_xml("CI_REGISTRY_REQUEST_ID"))
    jenkins.faults.append(Fault("POST /job/app/build", None, after=True))
    assert run(server, "app").result == "SUCCESS"
    assert len(job.builds) == 1
    assert sum(line.startswith("POST /job/app/build") for line in jenkins.requests) == 1


def test_a_lost_request_is_sent_again(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = jenkins.add("app", job_xml("CI_REGISTRY_REQUEST_ID"))
    jenkins.faults.append(Fault("POST /job/app/build", None))
    assert run(server, "app").result == "SUCCESS"
    assert len(job.builds) == 1


def test_a_lost_answer_without_a_request_id_is_not_repeated(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.add("app", job_xml())
    jenkins.faults.append(Fault("POST /job/app/build", None))
    with pytest.raises(TransportError) as caught:
        run(server, "app")
    assert "whether it was started is not known" in caught.value.hint
    assert sum(line.startswith("POST") for line in jenkins.requests) == 1


def test_an_equal_build_in_the_queue_is_joined(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = jenkins.add("app", job_xml("IMAGE"))
    first = run(server, "app", {"IMAGE": "x"}, wait=False)
    said: list[str] = []
    second = run(server, "app", {"IMAGE": "x"}, say=said.append)
    assert second.queue == first.queue
    assert "waited in the queue already" in said[0]
    assert len(job.builds) == 1


def test_a_queue_item_that_is_forgotten_is_found_among_the_builds(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.add("app", job_xml(), forgets_queue=True)
    assert run(server, "app").build == 1


def test_a_build_that_is_cancelled_in_the_queue_failed(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.add("app", job_xml(), cancelled=True)
    with pytest.raises(BuildFailedError, match="was cancelled while it waited in the queue"):
        run(server, "app")


def test_waiting_ends_with_the_timeout_and_says_what_goes_on(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    jenkins.add("app", job_xml(), queue_looks=1000)
    with pytest.raises(RemoteError, match="waiting for queue item 7 of app") as caught:
        run(server, "app", timeout_seconds=0.1)
    assert "goes on without us" in caught.value.hint


def test_an_interrupt_stops_the_build_only_when_asked_to(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = jenkins.add("app", job_xml(), log=[b"1\n"] * 1000)
    for stop in (False, True):
        cancel = Cancel()
        with pytest.raises(Interrupted):
            trigger(
                server, "app", {}, cancel=cancel, stop_on_interrupt=stop, on_text=lambda _, cancel=cancel: cancel.set()
            )
    assert [build.result for build in job.builds] == [None, "ABORTED"]


@pytest.mark.parametrize(
    "name, config, parameters, error, words",
    [
        ("gone", None, {}, NotFoundError, "there is no such job"),
        ("folder", "<com.cloudbees.hudson.plugins.folder.Folder/>", {}, UsageError, "no builds of its own"),
        ("off", "<project><disabled>true</disabled></project>", {}, ConflictError, "the job is disabled"),
        ("app", job_xml("IMAGE"), {"IMGAE": "x"}, UsageError, "has no parameter IMGAE"),
    ],
)
def test_what_can_not_be_started_is_said_before_anything_is_sent(
    jenkins: FakeJenkins,
    server: JenkinsServer,
    name: str,
    config: str | None,
    parameters: dict[str, str],
    error: type[Exception],
    words: str,
) -> None:
    if config:
        jenkins.add(name, config)
    with pytest.raises(error, match=words):
        run(server, name, parameters)
    assert not any(line.startswith("POST") for line in jenkins.requests)


def test_describe_sets_one_and_keeps_the_other(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    job = jenkins.add("app", job_xml())
    run(server, "app")
    describe(server, "app", 1, display_name="#1 of 1.2")
    describe(server, "app", 1, description="promoted ü & <b>")
    assert (job.builds[0].display_name, job.builds[0].description) == ("#1 of 1.2", "promoted ü & <b>")


# -- credentials -----------------------------------------------------------------------------------------------------


def test_a_credential_is_created_and_changed_in_a_folder(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    folder = jenkins.add("team", "<com.cloudbees.hudson.plugins.folder.Folder/>")
    assert put_credential(server, "team", "dev", username="ci", secret="a<b&c").outcome == "created"
    assert put_credential(server, "team", "dev", username="ci", secret="other-secret").outcome == "changed"
    assert put_credential(server, "team", "tok/en", username=None, secret="text").outcome == "created"
    assert "<password>other-secret</password>" in folder.credentials["dev"]
    assert server.credential_ids("team") == ["dev", "tok/en"]
    server.delete_credential("team", "dev")
    assert server.credential_ids("team") == ["tok/en"]


def test_credentials_need_a_folder(jenkins: FakeJenkins, server: JenkinsServer) -> None:
    with pytest.raises(NotFoundError, match="there is no folder team"):
        put_credential(server, "team", "dev", username="ci", secret="secret")
    jenkins.add("app", job_xml())
    with pytest.raises(UsageError, match="is not a folder"):
        put_credential(server, "app", "dev", username="ci", secret="secret")


# -- the command line ------------------------------------------------------------------------------------------------


class Cli:
    """The program in a folder with a configuration that names the fake server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "ci-registry.yaml").write_text(f"jenkins: {{url: '{url}', username: ci, timeout_seconds: 10}}\n")
        self.environment = {**os.environ, "CI_REGISTRY_JENKINS_TOKEN": TOKEN, "PYTHONPATH": os.getcwd()}

    def __call__(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ci_registry", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            timeout=60,
        )


@pytest.fixture
def cli(jenkins: FakeJenkins, tmp_path: Path) -> Cli:
    return Cli(tmp_path, jenkins.url)


def test_the_tool_defines_a_job_starts_it_and_ends_with_its_result(jenkins: FakeJenkins, cli: Cli) -> None:
    (cli.folder / "Jenkinsfile").write_text("node { echo 'hello' }\n")
    search = LeakSearch(TOKEN)
    with search.watching_arguments():
        made = cli("jenkins", "upsert-job", "team/promote", "--script", "Jenkinsfile", "--parameter", "IMAGE=x")
        good = cli("--output", "json", "jenkins", "trigger", "team/promote", "-p", "IMAGE=a:1", "--wait")
        jenkins.jobs["team/promote"].outcome = "FAILURE"
        bad = cli("jenkins", "trigger", "team/promote", "--wait")
    assert made.stdout.splitlines() == ["folder team created", f"{jenkins.url}/job/team/job/promote/ created"]
    assert (good.returncode, json.loads(good.stdout)["result"]["result"]) == (0, "SUCCESS")
    assert "Finished: SUCCESS" in good.stderr
    assert bad.returncode == 9
    assert bad.stderr.splitlines()[-1].endswith("/job/team/job/promote/2/ ended with FAILURE; its log says why.")
    search.look_at("output", made.stdout + made.stderr + good.stdout + good.stderr + bad.stdout + bad.stderr)
    search.look_into(cli.folder)
    assert search.leaks == []


def test_check_ends_with_6_when_something_is_missing(jenkins: FakeJenkins, cli: Cli) -> None:
    assert cli("jenkins", "check").returncode == 0
    jenkins.plugins.remove("git")
    missing = cli("jenkins", "check")
    assert missing.returncode == 6
    assert "problem: plug-in git is not installed" in missing.stdout


def test_credentials_take_their_secret_from_stdin(jenkins: FakeJenkins, cli: Cli) -> None:
    jenkins.add("team", "<com.cloudbees.hudson.plugins.folder.Folder/>")
    done = cli("jenkins", "credentials", "set", "team", "dev", "-u", "ci", "--password-stdin", stdin="pass-word-1\n")
    assert done.stdout == "credential dev in team created\n"
    assert "<password>pass-word-1</password>" in jenkins.jobs["team"].credentials["dev"]
    assert cli("jenkins", "credentials", "set", "team", "dev", stdin="").returncode == 2


def test_without_a_server_the_cure_is_named(cli: Cli) -> None:
    (cli.folder / "ci-registry.yaml").write_text("targets: {}\n")
    done = cli("jenkins", "check")
    assert done.returncode == 2
    assert "write `jenkins: {url: https://...}`" in done.stderr


def test_definitions_are_written_without_a_server(cli: Cli) -> None:
    (cli.folder / "Jenkinsfile").write_text("pipeline {}\n")
    (cli.folder / "jobs.yaml").write_text("jobs: {team/one: {script: Jenkinsfile, schedule: 'H 2 * * *'}}\n")
    done = cli("jenkins", "upsert-job", "--from", "jobs.yaml", "--write", "out")
    assert done.stdout == "out/team-one.xml\n"
    assert "<spec>H 2 * * *</spec>" in (cli.folder / "out/team-one.xml").read_text()


PIPELINES = Path(__file__).parent.parent.parent / "pipelines"


def test_the_definitions_beside_the_pipelines_are_what_the_tool_makes() -> None:
    jobs = read_jobs(PIPELINES / "jobs.yaml")
    assert {f"{job.name.replace('/', '-')}.xml" for job in jobs} == {path.name for path in PIPELINES.glob("jobs/*")}
    for job in jobs:
        assert (PIPELINES / "jobs" / f"{job.name.replace('/', '-')}.xml").read_text() == config_xml(job)


def test_the_defined_parameters_are_those_that_the_pipelines_declare() -> None:
    declaration = re.compile(r"^ +(?:string|booleanParam)\(name: '(\w+)', defaultValue: '?([^',]*)'?,", re.MULTILINE)
    for job in read_jobs(PIPELINES / "jobs.yaml"):
        declared = declaration.findall((PIPELINES.parent / job.script_path).read_text())
        wanted = [(each.name, "false" if each.default is False else each.default) for each in job.parameters]
        assert job.kind == "multibranch" or wanted == declared


def test_a_badly_named_parameter_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text("jobs:\n  x:\n    script: y\n    parameters:\n      NOT-A-NAME: {}\n")
    with pytest.raises(UsageError, match=r"line 5.*NOT-A-NAME is not a name"):
        read_jobs(file)


def test_python_jenkins_is_not_shadowed_by_our_folder(cli: Cli) -> None:
    code = "import jenkins; print(jenkins.Jenkins.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd(), timeout=60)
    assert done.stdout == "Jenkins\n"
