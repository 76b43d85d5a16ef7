"""What `ci-registry jenkins` answers: typed, JSON-able."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["BuildReport", "CredentialReport", "JenkinsLogin", "JenkinsReport", "JobReport"]


class JenkinsReport(Struct, frozen=True, kw_only=True):
    """`jenkins check`. `problems` and `notes` have one sentence each."""

    url: str
    version: str
    username: str
    authenticated: bool
    credential: str
    crumbs: bool
    problems: list[str]
    notes: list[str]


class JobReport(Struct, frozen=True, kw_only=True):
    """`jenkins upsert-job`. `outcome`: created, changed or unchanged; `folders` those that were made for it."""

    job: str
    outcome: str
    folders: list[str]
    url: str
    dry_run: bool


class BuildReport(Struct, frozen=True, kw_only=True):
    """`jenkins trigger` and `describe`. `build` and `result` are None until they are known."""

    job: str
    queue: int | None
    build: int | None
    url: str
    result: str | None
    description: str = ""


class CredentialReport(Struct, frozen=True, kw_only=True):
    """`jenkins credentials`. `outcome`: created, changed, deleted or listed."""

    folder: str
    outcome: str
    ids: list[str]


class JenkinsLogin(Struct, frozen=True, kw_only=True):
    """`jenkins login` and `logout`. `kept_in` is "" where nothing is kept any more."""

    url: str
    username: str
    kept_in: str
