"""Shards and phases over several processes, and receipts put together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.fake_registry import FakeRegistry, actions
from tests.support.images import ImageBuilder

from .conftest import Cli, Configure, records, writes

EDGES, REPOSITORIES, SHARDS = 200, 20, 4


@pytest.fixture
def plan(ci: Cli, config: Configure, dev: FakeRegistry, images: ImageBuilder) -> str:
    """A plan of 200 edges over 20 repositories, as `p`."""
    shared = [images.layer(200) for _ in range(2)]
    for number in range(EDGES):
        dev.load(images.image(1, 200, shared=shared), f"team/app{number % REPOSITORIES}", f"v{number}")
    config('promotions:\n  all: {from: dev, to: [prod], repositories: {glob: "team/*"}, atomic: plan}\n')
    planned = ci("plan --promotion all --save p")
    assert planned.code == 0, planned.err
    return "p"


def comparable(receipt: dict[str, Any]) -> dict[str, Any]:
    """A receipt without its times, and without the digests of records, which hold a time too."""
    lines = [line for edge in receipt["edges"] for line in edge["arrivals"]]
    for line in lines:
        line["record"] = bool(line["record"])
    return {key: value for key, value in receipt.items() if key not in ("started", "finished")}


def test_four_shards_at_once_then_tags_equal_one_apply(ci: Cli, folder: Path, plan: str, prod: FakeRegistry) -> None:
    assert ci("apply p --receipt whole.json").code == 0
    expected_tags = {name: dict(held.tags) for name, held in prod.store.repositories.items()}
    prod.store.repositories.clear()
    prod.store.blobs.clear()

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "ci_registry", "apply", "p", "--phase", "content"]
    processes = [
        subprocess.Popen(
            [*command, "--shard", f"{number}/{SHARDS}", "--receipt", f"shard-{number}.json"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number in range(1, SHARDS + 1)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    assert not any(held.tags for held in prod.store.repositories.values())
    for number in range(1, SHARDS + 1):
        totals = json.loads((folder / f"shard-{number}.json").read_text())["edges"]
        done = sum(line["outcome"] == "content" for edge in totals for line in edge["arrivals"])
        assert 0 < done < EDGES

    assert ci("apply p --phase tags --receipt tags.json").code == 0
    names = " ".join(f"shard-{number}.json" for number in range(1, SHARDS + 1))
    merged = ci(f"receipt merge tags.json {names} --receipt merged.json --output json")
    assert merged.code == 0, merged.err
    whole, together = (json.loads((folder / name).read_text()) for name in ("whole.json", "merged.json"))
    assert comparable(together) == comparable(whole)
    assert {name: dict(held.tags) for name, held in prod.store.repositories.items()} == expected_tags
    assert not (folder / "p.journal").exists()


def test_tags_wait_for_the_content(
    ci: Cli, config: Configure, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    for name in ("a", "b"):
        dev.load(images.image(), name, "1")
    assert ci("plan a:1 b:1 --from dev --to prod --save p").code == 0
    early = ci("apply p --phase tags")
    assert early.code == 4
    assert "is not in" in early.last
    assert "apply --phase content" in early.last
    assert not writes(prod)


def test_the_latest_word_on_each_arrival_counts(
    ci: Cli, config: Configure, folder: Path, dev: FakeRegistry, prod: FakeRegistry, images: ImageBuilder
) -> None:
    for name in ("a", "b"):
        dev.load(images.image(), name, "1")
    assert ci("plan a:1 b:1 --from dev --to prod --atomic image --save p").code == 0
    prod.script("PUT", "/v2/b/manifests/", actions.error(403, "DENIED", "not <yet> & now"), times=1)
    assert ci("apply p --receipt 1.json --junit 1.xml --html 1.html").code == 8
    suite = ElementTree.fromstring((folder / "1.xml").read_text()).find("testsuite")
    assert suite is not None
    assert suite.attrib["name"] == "prod"
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    failure = suite.find(".//failure")
    assert failure is not None
    assert "not <yet> & now" in failure.attrib["message"]
    page = (folder / "1.html").read_text()
    assert "not &lt;yet&gt; &amp; now" in page
    assert ci("apply p --receipt 2.json").code == 0
    merged = ci("receipt merge 2.json 1.json --output json").result["receipt"]
    assert [line["outcome"] for edge in merged["edges"] for line in edge["arrivals"]] == ["promoted", "promoted"]
    assert merged["advice"] == ""
    assert len(records(prod, "a", merged["edges"][0]["digest"])) == 1
