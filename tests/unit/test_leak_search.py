"""The search for secrets finds a planted one in every place and form, and nothing where there is none."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from tests.support.secrets import LeakSearch

SECRET = 'plänted "secret"/1'


@pytest.mark.parametrize(
    "form, name",
    [
        (SECRET, "as it is"),
        (json.dumps(SECRET), "escaped for JSON"),
        (f"?password={quote_plus(SECRET)}&x=1", "URL-encoded"),
        *[
            (f"Authorization: Basic {encode(f'{user}:{SECRET}'.encode()).decode()}", "in base64")
            for user in ("a", "bo", "eve", "")
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
        ],
    ],
)
def test_a_planted_leak_is_found_in_text(form: str, name: str) -> None:
    search = LeakSearch("another secret", SECRET)
    search.look_at("stderr", f"before {form} after")
    assert search.leaks == [f"stderr: {name}"]


def test_a_planted_leak_is_found_in_files(tmp_path: Path) -> None:
    folder = tmp_path / ".hidden" / "deeper"
    folder.mkdir(parents=True)
    (folder / "content").write_bytes(b"\0\xff" + SECRET.encode() + b"\0")
    (folder / "named secret-in-a-name").touch()
    search = LeakSearch(SECRET, "secret-in-a-name")
    search.look_into(tmp_path)
    assert search.leaks == [
        f"{folder}/content: as it is",
        f"name of {folder}/named secret-in-a-name: as it is",
    ]


def test_a_planted_leak_is_found_in_arguments() -> None:
    search = LeakSearch(SECRET)
    program = [sys.executable, "-c", "import time; time.sleep(0.3)", f"--password={SECRET}"]
    with search.watching_arguments():
        subprocess.run(program, check=True, timeout=30)
    assert len(search.leaks) == 1
    assert search.leaks[0].startswith("arguments of process ")


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a %20 %zz")
    search = LeakSearch(SECRET)
    with search.watching_arguments():
        done = subprocess.run([sys.executable, "-c", "print('all well')"], capture_output=True, check=True, timeout=30)
    search.look_at("stdout", done.stdout)
    search.look_at("stderr", None)
    search.look_into(tmp_path)
    assert search.leaks == []
