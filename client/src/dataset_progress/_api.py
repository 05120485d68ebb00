"""The few requests that this package makes."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._errors import Refused, Unreachable
from ._fork import forks_held_off

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("dataset_progress")

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Server:
    """Where to report, and as whom. An empty ``url``: nowhere."""

    url: str
    token: str

    @classmethod
    def find(cls, url: str | None = None, token: str | None = None) -> Server:
        """The server of the arguments, else of ``DATASET_PROGRESS_URL`` and ``DATASET_PROGRESS_TOKEN``."""
        found = url if url is not None else os.environ.get("DATASET_PROGRESS_URL", "")
        secret = token if token is not None else os.environ.get("DATASET_PROGRESS_TOKEN", "")
        return cls(found.strip().rstrip("/"), secret.strip())


class Api:
    """Requests to one server over one connection, which is opened with the first of them."""

    def __init__(self, server: Server, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._transport = transport
        self._client: httpx.Client | None = None
        # Now, and in the thread that asks for it: a process that is forked while another thread imports httpx or loads
        # certificates would inherit their locks. And no sooner, so that a script that reports nowhere does not wait.
        # What fails here, say for a proxy's nonsensical address, fails again where it can be told.
        with forks_held_off(), suppress(Exception):
            self._client = self._new_client()

    def _new_client(self) -> httpx.Client:
        import httpx

        if not (self.server.token.isascii() and self.server.token.isprintable()):
            # The words of whoever refuses it later would quote it.
            raise Unreachable("the token has characters that no token has")
        return httpx.Client(
            headers={"Authorization": f"Bearer {self.server.token}"} if self.server.token else {},
            timeout=TIMEOUT_SECONDS,
            transport=self._transport,
            # Certificates take a while to load, and are of no use to a server without TLS.
            verify=not self.server.url.startswith("http://"),
        )

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def begin(self, dataset: str, body: dict[str, Any]) -> int:
        """Begin a run, or find the one of the body's key; its number."""
        told = self.ask("POST", f"datasets/{dataset}/runs", body)
        if not isinstance(number := told.get("run"), int):
            raise self._stranger()
        return number

    def report(self, updates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Report updates, each with its ``dataset_id``; what became of each."""
        results = self.ask("POST", "progress", {"updates": updates}).get("results")
        if not isinstance(results, list) or [type(result) for result in results] != [dict] * len(updates):
            raise self._stranger()
        return results

    def _stranger(self, how: str = "") -> Unreachable:
        return Unreachable(f"{self.server.url} does not answer as Dataset Progress does{how}")

    def progress(self, dataset: str) -> dict[str, Any]:
        """How far a dataset is."""
        return self.ask("GET", f"datasets/{dataset}/progress")

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON. Raises `Refused` and `Unreachable`."""
        import httpx

        try:
            with forks_held_off():
                self._client = self._client or self._new_client()
                response = self._client.request(method, f"{self.server.url}/api/{path}", json=body)
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if response.is_redirect:
            raise Unreachable(f"{self.server.url} has moved to {response.headers.get('Location')}")
        try:
            told = response.json()
        except ValueError:
            raise self._stranger(f" ({response.status_code}, no JSON)") from None
        if not isinstance(told, dict):
            raise self._stranger()
        if response.status_code >= 400:
            raise Refused(
                response.status_code, str(told.get("code", "")), str(told.get("detail", "")),
                _seconds(response.headers.get("Retry-After", "")),
            )  # fmt: skip
        return told


def _seconds(retry_after: str) -> float:
    """The header, where it is a number of seconds; at most five minutes."""
    return min(float(retry_after), 300.0) if retry_after.isdecimal() else 0.0
