"""The chain: order, laziness, memory, and what `explain` tells."""

from __future__ import annotations

import threading

import pytest

from ci_registry.credentials.chain import (
    ANONYMOUS,
    Answer,
    Chain,
    Credential,
    Lookup,
    NoAnswer,
    Skipped,
    Unavailable,
    registry_key,
)
from ci_registry.errors import AccessError, ConfigError
from ci_registry.redaction import redact


class Scripted:
    """A provider that says what it is told to and counts how often it was asked."""

    def __init__(self, name: str, answer: Credential | Exception | None, remember: str = "host") -> None:
        self.name = name
        self.remember = remember
        self.asked: list[Lookup] = []
        self._answer = answer

    def find(self, request: Lookup) -> Credential | None:
        self.asked.append(request)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


BOB = Credential("bob", "correct horse", source="keyring (Test)")
EVE = Credential("eve", "battery staple", source="somewhere else")


def test_the_first_answer_wins_and_later_links_are_not_asked() -> None:
    first, second, third = Scripted("a", None), Scripted("b", BOB), Scripted("c", EVE)
    assert Chain([first, second, third]).find(Lookup("reg:5000")) is BOB
    assert len(first.asked) == 1
    assert third.asked == []


def test_nobody_answering_is_anonymous_and_the_source_says_why() -> None:
    chain = Chain(
        [Scripted("env", NoAnswer("not set")), Scripted("keyring", Unavailable("no backend on this machine"))]
    )
    found = chain.find(Lookup("reg:5000"))
    assert found.is_anonymous
    assert found == ANONYMOUS
    assert found.source == "keyring: no backend on this machine"


def test_a_broken_source_ends_the_search() -> None:
    later = Scripted("later", BOB)
    chain = Chain([Scripted("broken", ConfigError("the file is bad")), later])
    with pytest.raises(ConfigError, match="the file is bad"):
        chain.find(Lookup("reg"))
    assert later.asked == []


def test_each_search_gets_its_own_copy_of_an_error() -> None:
    chain = Chain([Scripted("broken", AccessError("helper failed", hint="repair it"))])
    caught = []
    for side in ("source", "target"):
        with pytest.raises(AccessError) as info:
            chain.find(Lookup("reg"))
        caught.append(info.value.on(side))  # type: ignore[arg-type]
    assert [error.side for error in caught] == ["source", "target"]
    assert caught[0].hint == "repair it"


@pytest.mark.parametrize("remember, times", [("host", 1), ("repository", 2), ("never", 3)])
def test_how_long_answers_are_remembered(remember: str, times: int) -> None:
    provider = Scripted("p", BOB, remember)
    chain = Chain([provider])
    for repository in ("a", "b", "a"):
        chain.find(Lookup("reg", repository))
    assert len(provider.asked) == times


def test_answers_of_two_targets_on_one_host_are_kept_apart() -> None:
    provider = Scripted("p", BOB)
    chain = Chain([provider])
    chain.find(Lookup("reg", target="dev"))
    chain.find(Lookup("reg", target="prod"))
    assert [lookup.target for lookup in provider.asked] == ["dev", "prod"]


def test_forget_asks_again() -> None:
    provider = Scripted("p", BOB)
    chain = Chain([provider])
    for host in ("reg", "other"):
        chain.find(Lookup(host))
    chain.forget(Lookup("reg", "some/repository"))
    for host in ("reg", "other"):
        chain.find(Lookup(host))
    assert [lookup.host for lookup in provider.asked] == ["reg", "other", "reg"]


def test_many_threads_ask_a_provider_once() -> None:
    release, entered = threading.Event(), threading.Event()

    class Slow(Scripted):
        def find(self, request: Lookup) -> Credential | None:
            entered.set()
            assert release.wait(10)
            return super().find(request)

    provider = Slow("slow", BOB)
    chain = Chain([provider])
    found: list[Credential] = []
    threads = [threading.Thread(target=lambda: found.append(chain.find(Lookup("reg")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert found == [BOB] * 8
    assert len(provider.asked) == 1


def test_explain_asks_everybody_and_tells_no_secret() -> None:
    chain = Chain(
        [
            Scripted("environment", NoAnswer("CI_REGISTRY_DEV_PASSWORD is not set")),
            Scripted("keyring", Unavailable("locked")),
            Scripted("boto3", Skipped("not an ECR host")),
            Scripted("docker config", BOB),
            Scripted("other", EVE),
            Scripted("token", Credential("", "", registry_token="abcdefgh", source="a file")),
        ]
    )
    answers = chain.explain(Lookup("reg"))
    assert answers == [
        Answer("environment", "no answer", "CI_REGISTRY_DEV_PASSWORD is not set"),
        Answer("keyring", "unavailable", "locked"),
        Answer("boto3", "skipped", "not an ECR host"),
        Answer("docker config", "won", "user bob, from keyring (Test)"),
        Answer("other", "lost", "user eve, from somewhere else"),
        Answer("token", "lost", "a bearer token, from a file"),
        Answer("anonymous", "not asked", "an earlier link decided"),
    ]
    assert not any(secret in repr(answers) for secret in ("correct horse", "battery staple", "abcdefgh"))


def test_explain_as_in_a_real_run() -> None:
    later = Scripted("b", EVE)
    outcomes = [answer.outcome for answer in Chain([Scripted("a", BOB), later]).explain(Lookup("reg"), ask_all=False)]
    assert outcomes == ["won", "not asked", "not asked"]
    assert later.asked == []


def test_explain_shows_an_error_instead_of_raising_it() -> None:
    chain = Chain([Scripted("a", ConfigError("it is not JSON", hint="correct it")), Scripted("b", BOB)])
    answers = chain.explain(Lookup("reg"))
    assert answers[0] == Answer("a", "error", "it is not JSON; correct it.")
    assert answers[1].outcome == "lost"


def test_explain_of_nothing() -> None:
    assert Chain([]).explain(Lookup("reg")) == [Answer("anonymous", "won", "nobody has a credential")]


def test_a_credential_shows_no_secret_and_has_it_masked_elsewhere() -> None:
    credential = Credential("bob", "unguessable-1", "identity-tok-1", "registry-tok-1", "a test")
    for secret in ("unguessable-1", "identity-tok-1", "registry-tok-1"):
        assert secret not in repr(credential)
        assert redact(f"<{secret}>") == "<***>"


def test_where_a_credential_came_from_does_not_make_it_another() -> None:
    assert Credential("u", "p", source="here") == Credential("u", "p", source="there")
    assert Credential("u", "p") != Credential("u", "q")


@pytest.mark.parametrize(
    "text, key",
    [
        ("reg:5000", "reg:5000"),
        ("https://Reg.Example.ORG/v1/", "reg.example.org"),
        ("https://reg:443", "reg"),
        ("http://reg:80/", "reg"),
        ("http://reg:443", "reg:443"),
        ("reg:80", "reg:80"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
        ("not a host", "not a host"),
    ],
)
def test_registry_key(text: str, key: str) -> None:
    assert registry_key(text) == key
    assert Lookup(text).host == key
