"""Tabs as a browser has them: behind another one, and left and come back to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from apps.progress import services as progress
from apps.progress.models import Run
from tests.processes import Server

from .conftest import FORWARD, TOTAL, find_chromium
from .devtools import Browser, Tab, chromium

IS_LIVE = "document.documentElement.dataset.link === 'live'"


@pytest.fixture
def chrome(tmp_path: Path) -> Iterator[Browser]:
    with chromium(find_chromium(), tmp_path) as browser:
        yield browser


def shows(current: int) -> str:
    return f"document.querySelector('main .dataset-progress').textContent.includes('({current}/{TOTAL})')"


def watch(tab: Tab, server: Server) -> None:
    tab.at_start(FORWARD)
    tab.go(f"{server.url}/datasets/cats/")
    tab.until(IS_LIVE)


def test_hidden_tab_rests_and_is_up_to_date_when_it_is_back(chrome: Browser, server: Server, run: Run) -> None:
    with chrome.tab() as tab:
        watch(tab, server)
        with chrome.tab():
            tab.until("document.visibilityState === 'hidden'")
            tab.traffic.clear()
            progress.report(run.pk, current=10)
            tab.evaluate("new Promise(resolve => setTimeout(resolve, 7000))")
            assert tab.traffic == []
        tab.show()
        tab.until(shows(10))
        tab.until(IS_LIVE)
        progress.report(run.pk, current=20)
        tab.until(shows(20))
        assert tab.evaluate("window.backwards") == []


def test_page_that_is_come_back_to_is_up_to_date(chrome: Browser, server: Server, run: Run) -> None:
    with chrome.tab() as tab:
        tab.at_start("addEventListener('pageshow', event => { window.isRestored = event.persisted; });")
        watch(tab, server)
        tab.evaluate("window.isTheSame = true")
        tab.go(f"{server.url}/")
        tab.until(f"location.pathname === '/' && {IS_LIVE}")
        progress.report(run.pk, current=10)
        tab.evaluate("history.back()")
        tab.until(f"document.querySelector('#dataset-live') && {shows(10)} && {IS_LIVE}")
        assert tab.evaluate("[window.isTheSame, window.isRestored]") == [True, True]
        progress.report(run.pk, current=20)
        tab.until(shows(20))
        assert tab.evaluate("window.backwards") == []
