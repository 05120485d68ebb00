"""A Chromium that is driven over its DevTools protocol and nothing else.

Playwright keeps every page that it drives in the foreground and out of the back/forward cache. Here a tab is hidden by
another one in front of it, and left and come back to, as in anyone's browser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from websockets.sync.client import ClientConnection, connect

from tests.services import running, wait_until

SECONDS_TO_ANSWER = 60.0
TRAFFIC = ("Network.requestWillBeSent", "Network.webSocketCreated", "Network.webSocketFrameReceived")


class Tab:
    """A page in its own tab. What it sends and is sent is noted in ``traffic``, by the names of the protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._session: str | None = None
        self.traffic: list[str] = []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._send("Network.enable")
        self._send("Page.enable")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._connection.recv(timeout=SECONDS_TO_ANSWER))
            if answer.get("method") in TRAFFIC:
                self.traffic.append(answer["method"])
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return cast("dict[str, Any]", answer["result"])

    def at_start(self, script: str) -> None:
        """Run a script in every document, before its own."""
        self._send("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what its promise is fulfilled with."""
        result = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true, also across navigations."""

        def is_true() -> bool:
            try:
                return self.evaluate(f"Boolean({expression})") is True
            except RuntimeError as error:
                if any(word in str(error) for word in ("navigated", "context")):
                    return False  # the page was left while it was asked
                raise

        wait_until(is_true, seconds=SECONDS_TO_ANSWER, what=expression)

    def show(self) -> None:
        """Bring it in front of the other tabs."""
        self._send("Page.bringToFront")

    def close(self) -> None:
        self._send("Page.close")


class Browser:
    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new tab, in front of the others of the one window."""
        with connect(self._url, max_size=None) as connection:
            tab = Tab(connection)
            yield tab
            tab.close()


@contextmanager
def chromium(program: str, folder: Path) -> Iterator[Browser]:
    """A browser of its own, with its profile and its log in ``folder``."""
    log = folder / "chromium.log"
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}", "about:blank",
    ]  # fmt: skip
    listening = re.compile(r"DevTools listening on (ws://\S+)")
    with running(command, ready=lambda: listening.search(log.read_text()) is not None, log=log):
        found = listening.search(log.read_text())
        assert found is not None
        yield Browser(found[1])
