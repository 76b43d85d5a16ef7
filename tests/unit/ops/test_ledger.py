"""The memory of what layers became: kept between runs, shared by them, and never in the way."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from ci_registry.model.descriptor import Descriptor, Digest, digest_of
from ci_registry.ops.ledger import Ledger, ledger_path
from ci_registry.targets.base import Location
from ci_registry.targets.prepared import KnownBlob

GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(name: str) -> Digest:
    return digest_of(name.encode())


def blob(name: str, repository: str = "team/app", compressor: str = "isal") -> KnownBlob:
    where = Location("https://registry.example", repository, "registry.example")
    return KnownBlob(Descriptor(GZIP, digest(name), len(name)), compressor).at(where)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "layers.json"


def quiet(text: str) -> None:
    raise AssertionError(text)


def test_what_was_remembered_is_known_to_another_run(path: Path) -> None:
    Ledger(path, quiet).remember({digest("layer"): [blob("compressed")], digest("image"): [blob("config")]})
    found = Ledger(path, quiet).known([digest("layer"), digest("other")])
    assert found == {digest("layer"): [blob("compressed")], digest("other"): []}
    assert path.stat().st_mode & 0o77 == 0
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == ["layers.json"]


def test_the_newest_candidate_comes_first_and_places_add_up(path: Path) -> None:
    ledger = Ledger(path, quiet)
    ledger.remember({digest("layer"): [blob("old", "a")]})
    ledger.remember({digest("layer"): [blob("new", "b")]})
    ledger.remember({digest("layer"): [blob("old", "c")]})
    found = ledger.known([digest("layer")])[digest("layer")]
    assert [each.descriptor.digest for each in found] == [digest("old"), digest("new")]
    assert [repository for _, repository in found[0].where] == ["c", "a"]


def test_the_oldest_keys_are_dropped(path: Path) -> None:
    ledger = Ledger(path, quiet)
    ledger.remember({digest(str(number)): [blob("x")] for number in range(3000)})
    ledger.remember({digest("0"): [blob("again")], digest("new"): [blob("x")]})
    found = ledger.known([digest("0"), digest("1"), digest("new")])
    assert [bool(blobs) for blobs in found.values()] == [True, False, True]
    assert len(json.loads(path.read_bytes())["known"]) == 3000
    assert path.stat().st_size < 2_000_000


def test_many_places_and_candidates_are_bounded(path: Path) -> None:
    ledger = Ledger(path, quiet)
    for number in range(30):
        ledger.remember({digest("layer"): [blob("same", f"r{number}"), blob(f"other{number}")]})
    found = ledger.known([digest("layer")])[digest("layer")]
    assert len(found) == 6
    assert max(len(each.where) for each in found) == 8


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1, "known": []}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_an_empty_one_with_one_warning(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    warnings: list[str] = []
    ledger = Ledger(path, warnings.append)
    assert ledger.known([digest("layer")]) == {digest("layer"): []}
    assert ledger.known([digest("layer")]) == {digest("layer"): []}
    assert len(warnings) == 1
    assert "damaged" in warnings[0]
    assert str(path) in warnings[0]
    ledger.remember({digest("layer"): [blob("x")]})
    assert Ledger(path, quiet).known([digest("layer")])[digest("layer")] == [blob("x")]


def test_entries_that_make_no_sense_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    good = {"digest": digest("x"), "size": 1, "media_type": GZIP, "compressor": "isal", "where": [["s", "r"]]}
    entries = [{}, {"digest": "sha256:1"}, 7, {**good, "size": "many"}, {**good, "where": [1]}, good]
    path.write_text(json.dumps({"version": 1, "known": {digest("layer"): entries, "z": 1}}))
    found = Ledger(path, quiet).known([digest("layer")])[digest("layer")]
    assert [each.descriptor.digest for each in found] == [digest("x")]


def test_a_file_of_another_version_is_not_used(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"version": 2, "known": {digest("layer"): []}}))
    assert Ledger(path, quiet).known([digest("layer")]) == {digest("layer"): []}


def test_a_directory_that_can_t_be_made_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    warnings: list[str] = []
    Ledger(tmp_path / "file" / "layers.json", warnings.append).remember({digest("layer"): [blob("x")]})
    assert "can't be used" in warnings[0]


def test_runs_at_the_same_time_lose_nothing(path: Path) -> None:
    def run(number: int) -> None:
        for turn in range(5):
            Ledger(path, quiet).remember({digest(f"{number}-{turn}"): [blob("x")]})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [digest(f"{number}-{turn}") for number in range(6) for turn in range(5)]
    assert all(Ledger(path, quiet).known(keys).values())


def test_a_dry_run_writes_nothing(path: Path) -> None:
    Ledger(path, quiet, read_only=True).remember({digest("layer"): [blob("x")]})
    assert not path.exists()


def test_it_lies_in_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ledger_path() == tmp_path / "ci-registry" / "layers.json"
