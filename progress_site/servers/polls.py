"""Polls that many send: what nobody has changed is answered from memory, and what has changed is made once for all.

The views of `apps.pages.views.partials` and `apps.api.progress` make every answer. Here an answer is kept beside the
facts that it shows, and repeated to whoever asks for the same, while the hub knows that the facts still hold and that
the caller may see them (`apps.live.known`). While a view answers, others who ask for the same wait. They take its
answer if it is known to hold, or was asked for after they came.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import QueryDict, parse_cookie
from django.utils import timezone

from apps.api.auth import spend_request
from apps.api.progress import json_variant
from apps.datasets.access.identities import TOKEN, identity_of
from apps.datasets.dataset_ids import DATASET_ID_PATTERN
from apps.live.hub import current_hub
from apps.live.limits import address_of
from apps.pages.views.partials import bar_variant, header_variant
from apps.progress.facts import Facts, Vitals, vitals_of
from apps.progress.polls import FACTS, UNCHANGED

# An answer that shows something is not repeated when it is older: it may say how long ago something was.
LONGEST: Final = timedelta(seconds=1)
# Answers that are kept.
MOST_ANSWERS: Final = 4_096
LONGEST_QUERY: Final = 300
# The key under which a scope has the `Poll` that was read of it already.
POLL: Final = "poll"

# The addresses that are polled.
ADDRESS: Final = re.compile(
    rf"/(?:datasets/({DATASET_ID_PATTERN})/progress/(header|bar)/|api/datasets/({DATASET_ID_PATTERN})/progress)"
)
_BEARER: Final = re.compile(rb"[Bb]earer [!-~]+")
_ETAG: Final = re.compile(rb'"[^",]*"')
# Headers on which an answer may depend, besides who asks.
_VARIES_WITH: Final = (b"host", b"x-forwarded-proto", b"accept-encoding", b"sec-fetch-site", b"hx-request")
# A request with one of these is for a view.
_SPECIAL: Final = frozenset(
    {b"origin", b"range", b"if-match", b"if-modified-since", b"if-unmodified-since", b"transfer-encoding"}
)

Message = dict[str, Any]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Poll:
    """A request for the progress of a dataset. Polls with equal ``key`` and variant are answered alike."""

    dataset_id: str
    kind: str  # "header", "bar" or "json"
    identity: str  # `access.identities.identity_of`
    address: str  # of an anonymous client of the API, whose reads are counted
    varies_with: tuple[Any, ...]  # the scheme, whether there are cookies, and the headers of `_VARIES_WITH`
    query: QueryDict | None
    etag: str

    @property
    def key(self) -> tuple[Any, ...]:
        return self.dataset_id, self.kind, self.varies_with

    def variant(self, facts: Facts, vitals: Vitals) -> str:
        """Return which of the possible answers this one gets, where ``facts`` hold and have these ``vitals``."""
        if self.query is None:
            return json_variant(self.etag, facts, vitals)
        return (header_variant if self.kind == "header" else bar_variant)(self.query, facts, vitals)

    def is_ahead_of(self, facts: Facts) -> bool:
        """Whether the page shows a later version, which another process wrote, and this one has yet to hear of."""
        if self.query is None or self.query.get("epoch") != facts.epoch:
            return False
        version = self.query.get("v", "")
        return version.isdecimal() and int(version) > facts.version

    def spend(self) -> bool:
        """Count the poll as its view would, and return True. False where that refuses it: then nothing is counted, and
        the view has to answer.
        """
        return self.kind != "json" or spend_request(self.identity.removeprefix(TOKEN), self.address) == 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view has answered, and what it had read."""

    messages: list[Message]
    facts: Facts
    vitals: Vitals
    read_at: datetime
    asked_at: float  # of the monotonic clock, before anything was read

    def holds(self, facts: Facts, vitals: Vitals, now: datetime, variant: str) -> bool:
        """Whether a view that reads ``facts``, with these ``vitals`` at ``now``, would answer the same."""
        if variant == UNCHANGED and self.is_empty:
            return True  # whatever the version is that the page shows
        is_same = self.facts.dataset_pk == facts.dataset_pk and self.facts.key == facts.key
        is_recent = variant == UNCHANGED or now - self.read_at < LONGEST
        return is_same and is_recent and self.vitals == vitals

    @property
    def is_empty(self) -> bool:
        return bool(self.messages[0]["status"] == HTTPStatus.NO_CONTENT)


class Answers:
    """The answers that are kept in one event loop. Every method belongs to its thread."""

    def __init__(self) -> None:
        self._by_variant: dict[tuple[Any, ...], Answer] = {}  # by a poll's key and variant
        self._latest: dict[tuple[Any, ...], Answer] = {}  # by a poll's key

    def keep(self, poll: Poll, answer: Answer) -> None:
        """Keep the answer to a poll, for all that get the same."""
        if len(self._by_variant) >= MOST_ANSWERS:
            self._by_variant.clear()
            self._latest.clear()
        variant = poll.variant(answer.facts, answer.vitals)
        self._by_variant[(*poll.key, variant)] = self._latest[poll.key] = answer

    def repeat(self, poll: Poll) -> list[Message] | None:
        """Return the messages of an answer that was kept, where it is known to hold, and count the poll; else None."""
        facts = current_hub().known.facts_of(poll.identity, poll.dataset_id)
        if facts is None or poll.is_ahead_of(facts):
            return None
        now = timezone.now()
        vitals = vitals_of(facts, now)
        variant = poll.variant(facts, vitals)
        answer = self._by_variant.get((*poll.key, variant))
        if answer is None or not answer.holds(facts, vitals, now, variant) or not poll.spend():
            return None
        return answer.messages

    def answer_for_waiting(self, poll: Poll, came_at: float) -> list[Message] | None:
        """Return the answer to a poll that has waited since ``came_at``; else None.

        That is one that is known to hold, or one to somebody who asked later.
        """
        return self.repeat(poll) or self._answer_asked_after(poll, came_at)

    def _answer_asked_after(self, poll: Poll, came_at: float) -> list[Message] | None:
        latest = self._latest.get(poll.key)
        if latest is None:
            return None
        answer = self._by_variant.get((*poll.key, poll.variant(latest.facts, latest.vitals)))
        if answer is None or answer.facts.key != latest.facts.key or answer.asked_at < came_at:
            return None
        return answer.messages if is_caller_known(poll) and poll.spend() else None


_answers: WeakKeyDictionary[asyncio.AbstractEventLoop, Answers] = WeakKeyDictionary()


def current_answers() -> Answers:
    """Return the answers of the running event loop. A web process has one."""
    loop = asyncio.get_running_loop()
    if loop not in _answers:
        _answers[loop] = Answers()
    return _answers[loop]


def is_caller_known(poll: Poll) -> bool:
    """Whether whoever polls is known to see the dataset."""
    return current_hub().known.may_see(poll.identity, poll.dataset_id)


class SharedPolls:
    """ASGI middleware that repeats answers to polls."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        # Set once a view has answered: by a poll's key, and where it has yet to say who may see the dataset, by caller.
        self._asking: dict[tuple[Any, ...], asyncio.Event] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        poll = scope.get(POLL) or read_poll(scope)
        if poll is None:
            await self._application(scope, receive, send)
            return
        messages = current_answers().repeat(poll)
        if messages is None:
            messages = await self._wait_or_ask(poll, scope, receive)
        for message in messages:
            await send(message)

    async def _wait_or_ask(self, poll: Poll, scope: Any, receive: Any) -> list[Message]:
        """Let the view answer, one at a time for all who ask for the same and are known to see it.

        All who waited for an answer take it in the same round of the event loop, however many they are. Of a caller
        that is not known, the first finds out for the others.
        """
        came_at = time.monotonic()
        if not is_caller_known(poll):
            caller = (poll.identity, poll.dataset_id)
            if (answered := self._asking.get(caller)) is None:
                return await self._ask_first(caller, poll, scope, receive)
            await answered.wait()
            if not is_caller_known(poll):
                return await self._ask(poll, scope, receive)
            if messages := current_answers().answer_for_waiting(poll, came_at):
                return messages
        while (answered := self._asking.get(poll.key)) is not None:
            await answered.wait()
            if messages := current_answers().answer_for_waiting(poll, came_at):
                return messages
        return await self._ask_first(poll.key, poll, scope, receive)

    async def _ask_first(self, key: tuple[Any, ...], poll: Poll, scope: Any, receive: Any) -> list[Message]:
        """Return the view's answer to a poll for which others wait under ``key``."""
        self._asking[key] = answered = asyncio.Event()
        try:
            return await self._ask(poll, scope, receive)
        finally:
            del self._asking[key]
            answered.set()

    async def _ask(self, poll: Poll, scope: Any, receive: Any) -> list[Message]:
        """Return the view's answer, and keep it where others may be given the same."""
        messages: list[Message] = []
        asked_at = time.monotonic()

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._application(scope, receive, keep)
        read = scope.get(FACTS)
        if read is None or not messages or not _may_be_shared(messages[0]):
            return messages
        facts, now = read
        current_answers().keep(poll, Answer(messages, facts, vitals_of(facts, now), now, asked_at))
        current_hub().note_poll(poll.identity, facts, asked_at)
        return messages


def _may_be_shared(start: Message) -> bool:
    """Whether an answer tells its caller nothing of its own."""
    is_success = start["status"] in (HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    return is_success and not any(name.lower() == b"set-cookie" for name, _ in start["headers"])


def read_poll(scope: Any) -> Poll | None:
    """Return what a request polls; None for any other request, and for one that only a view can judge."""
    found = ADDRESS.fullmatch(scope["path"])
    if found is None or scope["method"] != "GET" or scope.get("root_path"):
        return None
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if len(headers) != len(scope["headers"]) or not _SPECIAL.isdisjoint(headers):
        return None
    if headers.get(b"content-length", b"0") != b"0" or len(scope["query_string"]) > LONGEST_QUERY:
        return None
    cookie = headers.get(b"cookie", b"").decode("latin-1")
    varies_with = (scope.get("scheme"), bool(cookie), *(headers.get(name) for name in _VARIES_WITH))
    if found[3] is not None:
        authorization, etag = headers.get(b"authorization", b""), headers.get(b"if-none-match", b"")
        # A session's caller may be anyone, whose reads are counted. Only the view knows.
        if cookie or (authorization and not _BEARER.fullmatch(authorization)) or (etag and not _ETAG.fullmatch(etag)):
            return None
        identity = identity_of(authorization.decode("latin-1"), "")
        address = "" if identity else address_of(scope)
        return Poll(found[3], "json", identity, address, varies_with, None, etag.decode("latin-1"))
    query = _parsed(scope["query_string"])
    if query is None:
        return None
    identity = identity_of("", str(parse_cookie(cookie).get(settings.SESSION_COOKIE_NAME, "")))
    return Poll(found[1], found[2], identity, "", varies_with, query, "")


@lru_cache(maxsize=1_024)
def _parsed(query_string: bytes) -> QueryDict | None:
    """Return what a query says; None where only a view can judge it. Many pages ask with the same query."""
    try:
        return QueryDict(query_string.decode())
    except (UnicodeDecodeError, SuspiciousOperation):
        return None
