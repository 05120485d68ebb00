"""The script of the pages as production serves it, and what it shares with the server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.test import Client

from apps.live import rendering
from apps.pages import link
from tests.processes import collect_static

SCRIPTS = Path(settings.BASE_DIR, "static", "js")
HASHED = re.compile(r"[a-z_]+\.[0-9a-f]{12}\.js")


@pytest.fixture(scope="module")
def collected() -> Path:
    collect_static()
    return Path(settings.STATIC_ROOT, "js")


def imports(module: Path) -> list[str]:
    return re.findall(r'^import .*"\./([^"]+)";$', module.read_text(), re.MULTILINE)


def test_modules_import_one_another_by_hashed_names(collected: Path) -> None:
    manifest = json.loads((collected.parent / "staticfiles.json").read_text())["paths"]
    modules = {path.name: collected.parent / manifest[f"js/{path.name}"] for path in SCRIPTS.glob("*.js")}
    for name, module in modules.items():
        assert len(imports(module)) == len(imports(SCRIPTS / name)), name
        for imported in imports(module):
            assert HASHED.fullmatch(imported), f"{name} imports {imported}"
            assert (collected / imported).exists(), f"{name} imports {imported}"


def test_every_module_is_reached_from_the_first_one() -> None:
    reached: set[str] = set()
    to_read = ["main.js"]
    while to_read:
        name = to_read.pop()
        if name not in reached:
            reached.add(name)
            to_read += imports(SCRIPTS / name)
    assert reached == {path.name for path in SCRIPTS.glob("*.js")}


@pytest.mark.parametrize("name", ["link", "poller", "timer", "reconnecting"])
def test_link_knows_no_page(name: str) -> None:
    """The link serves other front ends too: no document, no htmx, and only modules of its own kind."""
    code = re.sub(r"/\*.*?\*/|//.*", "", (SCRIPTS / f"{name}.js").read_text(), flags=re.DOTALL)
    code = re.sub(r"export const browserClock = {.*?};", "", code, flags=re.DOTALL)  # what a page passes in
    assert not re.search(r"\b(document|window|htmx|fetch|location|performance|Math\.random|Date)\b", code)
    assert set(imports(SCRIPTS / f"{name}.js")) <= {"poller.js", "timer.js", "reconnecting.js"}


def test_page_loads_its_modules_under_the_policy(client: Client, db: None) -> None:
    answer = client.get("/")
    html = answer.content.decode()
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    [script] = re.findall(r"<script type=\"module\"[^>]*>", html)
    assert f'src="{staticfiles_storage.url("js/main.js")}"' in script
    [nonce] = re.findall(r'nonce="([^"]+)"', script)
    assert f"'nonce-{nonce}'" in policy
    preloaded = re.findall(r'<link rel="modulepreload" href="([^"]+)">', html)
    assert sorted(preloaded) == sorted(staticfiles_storage.url(f"js/{path.name}") for path in SCRIPTS.glob("*.js"))


def test_page_is_told_what_the_script_has_to_know(client: Client, db: None) -> None:
    [element] = re.findall(r'<div id="live"[^>]*>', client.get("/").content.decode())
    for name, value in link.attributes().items():
        assert f'data-{name}="{value}"' in element
    used = {re.sub("[A-Z]", lambda match: f"-{match[0].lower()}", name) for name in data_names()}
    assert set(link.attributes()) <= used


def data_names() -> set[str]:
    """The names that the connection reads from the element."""
    return set(re.findall(r"\bdata(?:set)?\.(\w+)", (SCRIPTS / "connection.js").read_text()))


@pytest.mark.parametrize("notice", [rendering.KEEPALIVE, rendering.NEW_DATASET, rendering.GONE_ROW])
def test_script_reads_the_notices_that_the_server_writes(notice: str) -> None:
    assert f'["{notice}",' in (SCRIPTS / "frames.js").read_text()


def test_docs_name_every_state_and_event() -> None:
    table = (SCRIPTS / "reconnecting.js").read_text()
    states, events = (
        set(re.findall(r'^  row\("([^"]+)"', table, re.M)),
        set(re.findall(r'^  row\("[^"]+", "([^"]+)"', table, re.M)),
    )
    docs = Path(settings.BASE_DIR, "docs", "live.md").read_text()
    assert len(states) == 6
    assert {name for name in states | events if f"`{name}`" not in docs} == set()
