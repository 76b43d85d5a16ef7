"""Loading, discovery and use of a right configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ci_registry.errors import ConfigError, NotFoundError
from ci_registry.ops.config import (
    Config,
    CreateRepositories,
    EcrTarget,
    HubTarget,
    JenkinsSettings,
    LayoutTarget,
    NexusTarget,
    RegistryTarget,
    load,
)
from ci_registry.redaction import redact

CONTRACT = """\
targets:
  dev:      {kind: registry, url: http://localhost:5000}          # plain HTTP must be said: http:// here
  secure:   {kind: registry, url: https://registry:5000, ca: certs/ca.pem, client_cert: certs/client.pem, client_key: certs/client.key}
  proxied:  {kind: registry, url: https://localhost:443, ca: certs/ca.pem}      # nginx with basic authentication in front
  nexus:    {kind: nexus, url: https://nexus:8083, pull_url: null, api: http://nexus:8081, nexus_repository: docker}
  hub:      {kind: dockerhub, namespace: dockermau, repository: '{namespace}/{name}'}
  ecr:      {kind: ecr, account: "123456789012", region: eu-west-1, role_arn: null, profile: null, endpoint_url: null, public: false,
             create_repositories: {enabled: true, immutable_tags: true, scan_on_push: true, lifecycle_policy: policy.json}}
  backup:   {kind: oci-layout, path: /srv/images}
promotions:
  release:
    from: dev
    to: [ecr, hub]
    repositories: {glob: "team/*"}                                  # or regex:
    tags: {semver: ">=1.0", newest: 20}                             # or glob:, regex:
    rename: '{tag}'
    atomic: image
    policies:
      require_platforms: [linux/amd64]
      require_labels: [org.opencontainers.image.revision]
      require_referrers: []
      max_age_days: 30
      require_promoted_from: null
      forbid_change_requests: true
      require_record: false
jenkins: {url: https://jenkins.example.org, username: ci}
"""  # noqa: E501 - as it stands in the documentation


def one(kind: str, environ: dict[str, str] | None = None, **keys: object):
    """The target `t` of a configuration made in Python."""
    return Config({"targets": {"t": {"kind": kind, **keys}}}, environ=environ or {}).target("t")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ci-registry.yaml"
    path.write_text(CONTRACT)
    return path


# The documented example


def test_documented_targets(file: Path) -> None:
    config = load(file, {}, file.parent)
    certs = file.parent / "certs"
    assert config.target("dev") == RegistryTarget(name="dev", url="http://localhost:5000")
    assert config.target("secure") == RegistryTarget(
        name="secure",
        url="https://registry:5000",
        ca=str(certs / "ca.pem"),
        client_cert=str(certs / "client.pem"),
        client_key=str(certs / "client.key"),
    )
    assert config.target("nexus") == NexusTarget(
        name="nexus", url="https://nexus:8083", api="http://nexus:8081", nexus_repository="docker"
    )
    assert config.target("hub") == HubTarget(name="hub", namespace="dockermau", repository="{namespace}/{name}")
    assert config.target("ecr") == EcrTarget(
        name="ecr",
        account="123456789012",
        region="eu-west-1",
        create_repositories=CreateRepositories(
            enabled=True,
            immutable_tags=True,
            scan_on_push=True,
            lifecycle_policy=str(file.parent / "policy.json"),
        ),
    )
    assert config.target("backup") == LayoutTarget(name="backup", path="/srv/images")
    assert config.path == file


def test_documented_promotion_and_jenkins(file: Path) -> None:
    config = load(file, {}, file.parent)
    release = config.promotion("release")
    assert (release.source, release.targets, release.rename, release.atomic) == (
        "dev",
        ("ecr", "hub"),
        "{tag}",
        "image",
    )
    assert (release.repositories.glob, release.tags.semver, release.tags.newest) == ("team/*", ">=1.0", 20)
    assert release.policies.require_platforms == ("linux/amd64",)
    assert release.policies.max_age_days == 30
    assert release.policies.forbid_change_requests
    assert config.jenkins_server() == JenkinsSettings(url="https://jenkins.example.org", username="ci")


def test_kind_is_readable_from_a_target(file: Path) -> None:
    config = load(file, {}, file.parent)
    assert [target.kind for target in config.targets.values()] == (
        ["registry"] * 3 + ["nexus", "dockerhub", "ecr", "oci-layout", "oci-layout", "dockerhub"]
    )


# Built-in targets


def test_without_a_file_the_built_in_targets_exist() -> None:
    config = Config(environ={"HOME": "/home/ci"})
    assert {name: target.kind for name, target in config.targets.items()} == {
        "local": "oci-layout",
        "dockerhub": "dockerhub",
        "ecr": "ecr",
    }
    assert config.target("local").path == "/home/ci/.local/share/ci-registry/images"
    assert config.jenkins is None
    assert config.jenkins_server() is None
    assert config.path is None


@pytest.mark.parametrize(
    "data_home, path",
    [("/data", "/data/ci-registry/images"), ("relative", "/home/ci/.local/share/ci-registry/images")],
)
def test_local_follows_the_data_home(data_home: str, path: str) -> None:
    assert Config(environ={"HOME": "/home/ci", "XDG_DATA_HOME": data_home}).target("local").path == path


def test_without_a_home_only_local_is_unusable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user number that /etc/passwd lacks
    config = load(None, {}, tmp_path)
    assert config.target("dockerhub") == HubTarget(name="dockerhub")
    with pytest.raises(ConfigError) as caught:
        config.target("local")
    assert caught.value.sentence() == (
        "the home folder that ~/.local/share/ci-registry/images begins with is not known; set HOME in the environment."
    )
    assert config.effective()["targets"]["local"]["path"] == "~/.local/share/ci-registry/images"


def test_a_data_home_that_looks_like_a_variable() -> None:
    assert Config(environ={"XDG_DATA_HOME": "/a/${B}"}).target("local").path == "/a/${B}/ci-registry/images"


def test_built_in_targets_can_be_redefined() -> None:
    config = Config({"targets": {"local": {"kind": "registry", "url": "http://r:5000"}}}, environ={})
    assert config.target("local") == RegistryTarget(name="local", url="http://r:5000")
    assert config.effective()["built_in"] == ["dockerhub", "ecr"]


# Variables


def test_variables_are_expanded_when_the_target_is_used() -> None:
    data = {"targets": {"t": {"kind": "registry", "url": "https://${HOST}:${PORT}", "namespace": "a/${BRANCH}"}}}
    config = Config(data, environ={})
    assert config.targets["t"].url == "https://${HOST}:${PORT}"
    target = config.target("t", {"HOST": "r.example.org", "PORT": "5000", "BRANCH": "main"})
    assert (target.url, target.namespace) == ("https://r.example.org:5000", "a/main")


def test_an_unused_target_needs_no_variables() -> None:
    config = Config(
        {"targets": {"a": {"kind": "registry", "url": "${A}"}, "b": {"kind": "registry", "url": "https://b"}}},
        environ={},
    )
    assert config.target("b").url == "https://b"


def test_unset_variable_names_key_and_variable(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("targets:\n  t:\n    kind: registry\n    url: https://r\n    password: ${T_PASSWORD}\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {}, tmp_path).target("t")
    assert caught.value.exit_code == 2
    assert caught.value.path == "targets.t.password"
    assert caught.value.sentence() == (
        f"{file}, line 5: targets.t.password needs the variable T_PASSWORD, which is not set;"
        " set T_PASSWORD in the environment."
    )


def test_empty_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"targets.t.password needs the variable P, which is set but empty"):
        one("registry", {"P": ""}, url="https://r", password="${P}")


def test_doubled_dollar_is_a_plain_one() -> None:
    target = one("registry", {"A": "1"}, url="https://r", username="$${A}-${A}-$A-$$-$")
    assert target.username == "${A}-1-$A-$$-$"


def test_expanded_text_is_not_expanded_again() -> None:
    assert one("registry", {"P": "${Q}$${"}, url="https://r", password="${P}").password == "${Q}$${"


def test_numbers_and_truth_values_may_be_variables() -> None:
    environ = {"N": "4", "R": "2.5", "T": "true", "F": "false"}
    target = one(
        "registry",
        environ,
        url="https://r",
        max_connections="${N}",
        requests_per_second="${R}",
        insecure_skip_verify="${T}",
        immutable_tags="${F}",
    )
    assert (target.max_connections, target.requests_per_second) == (4, 2.5)
    assert target.insecure_skip_verify is True
    assert target.immutable_tags is False


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("max_connections", "lots", "must be a whole number, but is what ${V} holds"),
        ("max_connections", "0", "must be a whole number >= 1, but is what ${V} holds"),
        ("url", "registry:5000", "has no http:// or https:// in front: '${V}'"),
        ("url", "https://u:hunter2@r", "has a user or password in its address"),
        ("namespace", "Team", "is not a valid beginning of a repository name: '${V}'"),
        ("mirror", "", "has no http:// or https:// in front: '${V}'"),
        ("proxy", "http://u:hunter2@s:port", "has a host or port that is not valid"),
        ("proxy", "socks5://u:hunter2@s:1", "is not an http:// address"),
    ],
)
def test_what_a_variable_holds_is_checked_but_never_shown(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        one("registry", {"V": value}, **{"url": "https://r", key: "${V}"})
    assert caught.value.message == f"targets.t.{key} {message}"
    assert value == "" or value not in caught.value.sentence()
    assert "hunter2" not in caught.value.sentence()


def test_variables_in_promotions_and_jenkins() -> None:
    config = Config(
        {
            "targets": {"a": {"kind": "registry", "url": "https://a"}},
            "promotions": {"p": {"from": "${FROM}", "to": ["local"], "atomic": "${MODE}"}},
            "jenkins": {"url": "https://j/jenkins/", "token": "${J}", "timeout_seconds": "${S}"},
        },
        environ={},
    )
    promotion = config.promotion("p", {"FROM": "a", "MODE": "plan"})
    assert (promotion.source, promotion.atomic) == ("a", "plan")
    server = config.jenkins_server({"J": "secret-token", "S": "5"})
    assert (server.url, server.token, server.timeout_seconds) == ("https://j/jenkins", "secret-token", 5)
    with pytest.raises(ConfigError, match=r"promotions.p.from names the target 'b', which is not configured"):
        config.promotion("p", {"FROM": "b", "MODE": "plan"})
    with pytest.raises(ConfigError, match=r"promotions.p.atomic must be image or plan, but is what \$\{MODE\} holds"):
        config.promotion("p", {"FROM": "a", "MODE": "none"})


def test_secrets_stay_out_of_repr_and_logs() -> None:
    target = one(
        "registry",
        {"P": "hunter2-hunter2", "X": "http://u:pw-of-proxy@squid:3128"},
        url="https://r",
        password="${P}",
        proxy="${X}",
    )
    assert target.password == "hunter2-hunter2"
    assert repr(target) == "RegistryTarget(name='t', password=***, proxy='http://***@squid:3128', url='https://r')"
    assert redact("login with hunter2-hunter2") == "login with ***"
    jenkins = Config({"jenkins": {"url": "https://j", "token": "${T}"}}, environ={"T": "s3cret-token"}).jenkins_server()
    assert "s3cret-token" not in repr(jenkins)


# Normal forms


@pytest.mark.parametrize(
    "written, plain",
    [
        ("HTTPS://Registry.Example.org:5000/", "https://registry.example.org:5000"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("http://my_registry:5000", "http://my_registry:5000"),
    ],
)
def test_addresses_are_normalised(written: str, plain: str) -> None:
    assert one("registry", url=written).url == plain


def test_nexus_may_route_by_path() -> None:
    assert one("nexus", url="https://n/Repository/docker/").url == "https://n/Repository/docker"


@pytest.mark.parametrize("written", ["ab" * 32, "sha256:" + "AB" * 32, "SHA256 Fingerprint=" + ":".join(["AB"] * 32)])
def test_fingerprints_are_normalised(written: str) -> None:
    assert one("registry", url="https://r", fingerprint=written).fingerprint == "ab" * 32


def test_paths_are_relative_to_the_file_and_know_the_home(tmp_path: Path) -> None:
    file = tmp_path / "conf" / "c.yaml"
    file.parent.mkdir()
    file.write_text(
        "targets:\n"
        "  t: {kind: registry, url: https://r, ca: ../ca.pem, client_cert: ~/c.pem, password_file: '${D}/pw'}\n"
    )
    target = load(Path("conf/c.yaml"), {"HOME": "/home/ci", "D": "run"}, tmp_path).target("t")
    assert target.ca == str(tmp_path / "ca.pem")
    assert target.client_cert == "/home/ci/c.pem"
    assert target.password_file == str(tmp_path / "conf" / "run" / "pw")


def test_aws_tags_are_plain_texts() -> None:
    tags = {"path": "a/b", "password": "a cost centre", "empty": "", "url": "x", "v": "${V}"}
    target = one("ecr", {"V": "1"}, create_repositories={"enabled": True, "tags": tags})
    assert target.create_repositories.tags == {**tags, "v": "1"}


def test_proxy_none_and_with_a_login_of_variables() -> None:
    assert one("registry", url="https://r", proxy="").proxy == ""
    target = one("registry", {"U": "u", "P": "p@ss/word"}, url="https://r", proxy="http://${U}:${P}@squid:3128")
    assert target.proxy == "http://u:p%40ss%2Fword@squid:3128"


def test_merge_keys_share_settings(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "targets:\n  a: &a {kind: registry, url: https://a, retry_seconds: 5}\n  b: {<<: *a, url: https://b}\n"
    )
    assert load(file, {}, tmp_path).target("b") == RegistryTarget(name="b", url="https://b", retry_seconds=5)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "targets:\npromotions:\njenkins:\n", "\ufefftargets: {}\n"]
)
def test_empty_files_and_sections_are_right(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert list(load(file, {}, tmp_path).targets) == ["local", "dockerhub", "ecr"]


# Looking up


@pytest.mark.parametrize(
    "name, guess", [("deu", "did you mean 'dev'?"), ("qqqq", "configured: dev, local, dockerhub, ecr")]
)
def test_unknown_target_is_not_found(name: str, guess: str) -> None:
    config = Config({"targets": {"dev": {"kind": "registry", "url": "https://r"}}}, environ={})
    with pytest.raises(NotFoundError) as caught:
        config.target(name)
    assert caught.value.exit_code == 4
    assert caught.value.sentence() == f"there is no target '{name}' in the configuration; {guess}" + (
        "" if guess.endswith("?") else "."
    )


def test_unknown_promotion_is_not_found(file: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no promotion 'relase'"):
        load(file, {}, file.parent).promotion("relase")


def test_addresses_leave_out_what_is_not_known() -> None:
    config = Config(
        {
            "targets": {
                "a": {"kind": "registry", "url": "https://A:5000/", "password": "${UNSET}"},
                "b": {"kind": "registry", "url": "${UNSET}"},
                "c": {"kind": "nexus", "url": "https://${H}"},
                "d": {"kind": "registry", "url": "${LOGIN}"},
            }
        },
        environ={"H": "n", "LOGIN": "https://u:hunter2@r"},
    )
    assert config.addresses() == {"a": "https://a:5000", "c": "https://n"}


def test_effective_configuration_shows_no_secret(file: Path) -> None:
    file.write_text(
        "targets:\n  t: {kind: registry, url: HTTPS://R/, password: '${P}', ca: ca.pem, max_connections: '${N}'}\n"
        "promotions:\n  p: {from: t, to: [local], policies: {max_age_days: 3}}\n"
        "jenkins: {url: https://j, token: '${J}'}\n"
    )
    shown = load(file, {"P": "hunter2", "N": "3", "J": "hunter2"}, file.parent).effective()
    assert shown["file"] == str(file)
    assert shown["targets"]["t"] == {
        "kind": "registry",
        "url": "https://r",
        "password": "${P}",
        "ca": str(file.parent / "ca.pem"),
        "max_connections": "${N}",
        "immutable_tags": False,
        "protected_tags": [],
        "insecure_skip_verify": False,
    }
    assert shown["promotions"]["p"]["from"] == "t"
    assert shown["promotions"]["p"]["policies"]["max_age_days"] == 3
    assert shown["promotions"]["p"]["policies"]["require_record"] is False
    assert shown["jenkins"] == {"url": "https://j", "token": "${J}", "timeout_seconds": 30.0}
    assert "hunter2" not in repr(shown)


def test_notes_name_keys_without_effect() -> None:
    config = Config(
        {
            "targets": {
                "a": {"kind": "oci-layout", "path": "x", "proxy": "", "namespace": "n"},
                "b": {"kind": "registry", "url": "https://r", "insecure_skip_verify": True},
            }
        },
        environ={},
    )
    first, second = config.notes()
    assert first == "targets.a.proxy has no effect on a folder of images"
    assert second.startswith("targets.b.insecure_skip_verify lets anybody in between read the password")


# Discovery


def write(file: Path, name: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"targets: {{{name}: {{kind: oci-layout, path: x}}}}\n")
    return file


def test_order_of_places(tmp_path: Path) -> None:
    inner = tmp_path / "repo" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "repo" / ".git").mkdir()
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path / "home")}
    above = write(tmp_path / "ci-registry.yaml", "above")
    home = write(tmp_path / "home/.config/ci-registry/config.yaml", "home")
    assert load(None, {"HOME": environ["HOME"]}, inner).path == home
    user = write(tmp_path / "xdg/ci-registry/config.yaml", "user")
    assert load(None, environ, inner).path == user
    root = write(tmp_path / "repo/ci-registry.yaml", "root")
    assert load(None, environ, inner).path == root
    here = write(inner / "ci-registry.yaml", "here")
    assert load(None, environ, inner).path == here
    named = write(tmp_path / "named.yaml", "named")
    environ["CI_REGISTRY_CONFIG"] = "../../../named.yaml"
    assert load(None, environ, inner).path.resolve() == named
    assert load(above, environ, inner).path == above


def test_outside_a_repository_only_this_folder_counts(tmp_path: Path) -> None:
    write(tmp_path / "ci-registry.yaml", "above")
    inner = tmp_path / "inner"
    inner.mkdir()
    environ = {"HOME": str(tmp_path / "home")}
    found = load(None, environ, inner).path
    assert found is None or not found.is_relative_to(tmp_path)
    assert load(None, environ, tmp_path).path == tmp_path / "ci-registry.yaml"


def test_a_worktree_ends_the_repository_too(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text("gitdir: elsewhere\n")
    write(tmp_path / "ci-registry.yaml", "above")
    assert load(None, {"HOME": "/nonexistent"}, tmp_path / "tree").path != tmp_path / "ci-registry.yaml"


@pytest.mark.parametrize("explicit, environ", [(Path("no.yaml"), {}), (None, {"CI_REGISTRY_CONFIG": "no.yaml"})])
def test_a_named_file_must_exist(tmp_path: Path, explicit: Path | None, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(explicit, environ, tmp_path)
    assert caught.value.exit_code == 2
    who = "--config" if explicit else "CI_REGISTRY_CONFIG"
    assert caught.value.message == f"the configuration {tmp_path}/no.yaml, which {who} names, does not exist"


def test_yaml_is_not_imported_before_a_file_is_read() -> None:
    code = (
        "import sys, ci_registry.ops.config as c; c.Config(environ={}).target('local');"
        "print([m for m in ('yaml', 'difflib', 'ssl', 'socket') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
