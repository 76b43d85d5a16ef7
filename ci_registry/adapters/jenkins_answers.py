"""What a Jenkins server says about jobs and builds, as data, and where a job lives on it."""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct

__all__ = ["FOLDER", "Build", "Console", "JobInfo", "QueueItem", "Started", "job_path"]

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"


class JobInfo(Struct, frozen=True):
    """What a job is. `kind` is Jenkins's class name, `parameters` the names it declares."""

    name: str
    kind: str
    url: str
    buildable: bool
    parameters: tuple[str, ...]

    @property
    def is_folder(self) -> bool:
        """Does it hold jobs instead of builds? (folders, multibranch and organisation projects)"""
        return self.kind == FOLDER or self.kind.endswith(("MultiBranchProject", "OrganizationFolder"))


class Started(Struct, frozen=True):
    """A build in the queue; `was_queued` when an equal one waited there already."""

    queue_number: int
    was_queued: bool


class QueueItem(Struct, frozen=True):
    """`build` is None until it runs; `why` says what it waits for."""

    number: int
    build: int | None
    is_cancelled: bool
    why: str


class Build(Struct, frozen=True):
    """`result` is None while it runs, later SUCCESS, UNSTABLE, FAILURE, ABORTED or NOT_BUILT."""

    number: int
    url: str
    is_running: bool
    result: str | None
    display_name: str
    description: str
    queue_number: int


class Console(Struct, frozen=True):
    """A piece of a build's log: its bytes, where the next one begins, and whether there will be one."""

    content: bytes
    next_start: int
    more: bool


def job_path(name: str) -> str:
    """The path of a job: `a/b` lives at `job/a/job/b`."""
    return "/".join(f"job/{quote(part, safe='')}" for part in name.split("/"))
