"""The page of a receipt: everything is there, and nothing that a strict content security policy would block."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from ci_registry.engine.receipt import Failure, Receipt, ReceiptEdge, ReceiptLine
from ci_registry.reports.html import receipt_page

OLD, NEW, RECORD = ("sha256:" + letter * 64 for letter in "abc")
EVIL = '"><script>alert(1)</script>'


def page() -> str:
    line = ReceiptLine(
        target="prod",
        registry="https://registry.example.org",
        repository="app",
        tag="1",
        before=OLD,
        after=NEW,
        outcome="promoted",
        record=RECORD,
        error=Failure(code="x", exit=7, message=EVIL),
    )
    edge = ReceiptEdge(
        source="dev:app:1", digest=NEW, platforms=["linux/amd64"], commit="c0ffee", arrivals=[line], forced={"r": EVIL}
    )
    build = {"BUILD_URL": "https://jenkins.example.org/job/a/1/", "JOB_NAME": EVIL, "CI_REGISTRY_CAUSE": "timer"}
    return receipt_page(
        Receipt(
            plan=NEW, kind="promotion", promotion="release", atomic="image", tool="t", started="2024-01-01T00:00:00Z",
            finished="2024-01-01T00:00:01Z", approved_by="Ann", build=build, edges=[edge],
        )
    )  # fmt: skip


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: dict[str, str | None] = {}
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_that_would_be_blocked() -> None:
    found = Tags()
    found.feed(page())
    assert not found.tags & {"script", "style", "link", "iframe", "object", "form", "img"}
    assert not [name for name in found.attributes if name.startswith("on") or name in ("style", "src")]
    assert found.attributes["href"] == "https://jenkins.example.org/job/a/1/"


def test_who_what_and_both_digests() -> None:
    found = Tags()
    found.feed(page())
    text = re.sub(r"\s+", " ", found.text)
    for said in ("Ann", "release", "dev:app:1", "prod:app:1", OLD, NEW, RECORD, "c0ffee", "timer", "promoted", EVIL):
        assert said in text, said


def test_a_link_is_only_made_of_a_web_address() -> None:
    receipt = Receipt(
        plan=NEW, kind="rollback", promotion=None, atomic="plan", tool="t", started="2024", finished="2024",
        build={"BUILD_URL": "javascript:alert(1)"},
    )  # fmt: skip
    assert "<a " not in receipt_page(receipt)
    assert "Rollback" in receipt_page(receipt)
