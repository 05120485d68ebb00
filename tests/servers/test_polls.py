"""Answers to polls that are repeated from memory are those that the view would give, to whoever asks."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.live import hub
from apps.live.hub import current_hub
from apps.live.rendering import Form
from apps.live.watcher import Watcher
from apps.progress import services
from apps.progress.models import Head, Run

from .site import Answered, Site, aside, bar, cookie_of, header, in_site, json
from .views import Scope


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time that is told, to be moved by the test: two answers at one time can be compared."""
    told = [timezone.now()]
    monkeypatch.setattr(timezone, "now", lambda: told[0])
    return told


class People:
    """A public and a private dataset, and everybody who may ask for them."""

    def __init__(self) -> None:
        owner, stranger = User.objects.create_user("owner"), User.objects.create_user("stranger")
        self.datasets = [
            Dataset.objects.create(dataset_id=name, visibility=name, owner=owner) for name in ("public", "private")
        ]
        self.cookies = [
            "",
            cookie_of(owner),
            cookie_of(stranger),
            "sessionid=0123456789abcdef",
            f"csrftoken={'x' * 32}",
        ]
        secrets = [issue_token("owner's", user=owner)[1], issue_token("other", datasets="other-*")[1], "none"]
        self.authorizations = ["", *(f"Bearer {secret}" for secret in secrets), "Basic x"]

    def changes(self, dataset: Dataset) -> list[Callable[[], object]]:
        """What may happen to a dataset next."""
        run = Run.objects.filter(dataset=dataset).order_by("-number").first()
        if run is None or run.state in ("ready", "error"):
            return [lambda: services.begin_run(dataset, [services.StagePlan("index", total=100)])]
        if run.state == "pending":
            return [lambda: services.start_stage(run.pk, "index")]
        return [
            lambda: services.report(run.pk, current=random.randrange(100)),
            lambda: services.request_pause(run.pk) if run.control == "run" else services.request_resume(run.pk),
            lambda: services.fail(run.pk, "a reason"),
            lambda: services.finish(run.pk),
        ]

    def poll(self, dice: random.Random) -> Scope:
        dataset = dice.choice(self.datasets)
        head = Head.objects.filter(dataset=dataset).first()
        epoch, version = (head.epoch, head.version) if head else (str(dataset.pk), 0)
        dataset_id = dice.choice([dataset.dataset_id, dataset.dataset_id, dataset.dataset_id, "none"])
        cookie = dice.choice(self.cookies)
        extra = {"accept_encoding": dice.choice(["", "gzip"]), "sec_fetch_site": dice.choice(["", "same-origin"])}
        if dice.random() < 0.4:
            health = dice.choice(["", "-slow", "-stalled", "-lost"])
            etag = dice.choice(["", f'"{epoch}-{version}{health}"', f'"{epoch}-{version - 1}"', "*", "garbage"])
            authorization = dice.choice(self.authorizations)
            return json(dataset_id, authorization=authorization, cookie=cookie, if_none_match=etag, **extra)
        parts = [f"v={version - dice.choice([0, 0, 1])}", f"epoch={dice.choice([epoch, epoch, 'x'])}"]
        parts += dice.choice([[], [f"health={dice.choice(['', 'live', 'slow', 'stalled', 'lost'])}"]])
        parts += dice.choice([[], [f"run={dice.choice(['', '0', '1', '2'])}"]])
        query = dice.choice(["&".join(parts), "", "v=%ff", "&".join(parts + parts)])
        return dice.choice([header, bar])(dataset_id, query, cookie=cookie, **extra)


@pytest.mark.parametrize("seed", range(6))
def test_every_answer_is_that_of_the_view(
    transactional_db: None, clock: list[datetime], settings: Any, seed: int
) -> None:
    settings.READS_PER_ADDRESS = settings.TOKEN_REQUESTS_A_SECOND = 0
    dice = random.Random(seed)
    people = People()

    async def main(site: Site) -> None:
        repeated = 0
        for _ in range(120):
            match dice.randrange(8):
                case 0 | 1:
                    for change in await aside(people.changes, dice.choice(people.datasets)):
                        if dice.random() < 0.4:
                            await aside(change)
                            break
                case 2:
                    clock[0] += timedelta(seconds=dice.choice([0.5, 2, 40, 400]))
            asked = await aside(people.poll, dice)
            expected = plain(await site.view(asked))
            assert plain(await site.shared(asked)) == expected, asked
            before = site.asked
            assert plain(await site.shared(asked)) == expected, asked
            repeated += site.asked == before
        assert repeated > 15

    in_site(main)


def plain(answer: Answered) -> Answered:
    """Leave out what differs between two answers of one view: nonces of error pages, and lengths, which are random."""
    status, headers, body = answer
    if status >= HTTPStatus.BAD_REQUEST:
        return status, [], b""
    if (b"Content-Encoding", b"gzip") in headers:
        headers = [header for header in headers if header[0] != b"Content-Length"]
        body = gzip.decompress(body)
    return status, headers, body


# --- One after the other ---------------------------------------------------------------------------------------------


def shown(answer: Answered) -> str:
    """Return the query of a page that shows this header."""
    [found] = re.findall(r'hx-get="[^?]+\?([^"]+)"', answer[2].decode())
    return str(found).replace("&amp;", "&")


def test_unchanged_answers_ask_no_view(running: Dataset) -> None:
    async def main(site: Site) -> None:
        etag = dict((await site.shared(json("cats")))[1])[b"ETag"].decode()
        query = shown(await site.shared(header("cats")))
        for asked, status in [(header("cats", query), 204), (bar("cats", query), 204), (json("cats"), 200)]:
            assert (await site.shared(asked))[0] == status
            before = site.asked
            assert [(await site.shared(asked))[0] for _ in range(5)] == [status] * 5
            assert site.asked == before
        assert [(await site.shared(json("cats", if_none_match=etag)))[0] for _ in range(3)] == [304] * 3

    in_site(main)


def test_a_change_is_made_once_for_all_who_ask_for_it(running: Dataset) -> None:
    run = Run.objects.get(dataset=running)

    async def main(site: Site) -> None:
        query = shown(await site.shared(header("cats")))
        await aside(services.report, run.pk, current=46)
        site.asked, site.begun = 0, asyncio.Semaphore(0)
        site.go_on.clear()
        first = asyncio.create_task(site.shared(header("cats", query)))
        await site.begun.acquire()
        crowd = [asyncio.create_task(site.shared(header("cats", query))) for _ in range(50)]
        rounds, ended = 0, []
        for one in crowd:
            one.add_done_callback(lambda _: ended.append(rounds))
        await asyncio.sleep(0)
        site.go_on.set()
        while len(ended) < len(crowd):
            await asyncio.sleep(0)
            rounds += 1
        assert max(ended) - min(ended) < 10  # one after the other, thousands would wait for seconds
        assert {answer[0] for answer in await asyncio.gather(first, *crowd)} == {200}
        assert all(b"46%" in answer[2] for answer in await asyncio.gather(first, *crowd))
        assert site.asked <= 2  # who came while the first was asked may not have its answer, if something has changed

    in_site(main)


def test_first_of_a_crowd_of_strangers_finds_out_for_the_others(running: Dataset) -> None:
    async def main(site: Site) -> None:
        crowd = [site.shared(asked) for asked in [header("cats")] * 20 + [bar("cats")] * 20]
        answers = await asyncio.gather(*crowd)
        assert {answer[0] for answer in answers} == {200}
        assert len({answer[2] for answer in answers}) == 2
        assert site.asked == 2  # for a header, which also says that the bar may be seen, and for a bar

    in_site(main)


class HeldSite(Site):
    """A site that holds up the views of one caller, who has this cookie."""

    held = b""

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.release()
        if (b"cookie", self.held) in scope["headers"]:
            await self.go_on.wait()
        for message in await aside(self._handler.answer, scope, b""):
            await send(message)


def test_strangers_are_refused_whatever_others_are_answered_meanwhile(running: Dataset) -> None:
    owner, stranger = User.objects.create_user("owner"), User.objects.create_user("stranger")
    Dataset.objects.update(visibility="private", owner=owner)
    by_owner, by_stranger = (header("cats", cookie=cookie_of(user)) for user in (owner, stranger))

    async def main(_: Site) -> None:
        site = HeldSite()
        site.held = dict(by_stranger["headers"])[b"cookie"]
        site.go_on.clear()
        strangers = [asyncio.create_task(site.shared(by_stranger)) for _ in range(5)]
        await site.begun.acquire()
        assert (await site.shared(by_owner))[0] == 200
        site.go_on.set()
        assert [answer[0] for answer in await asyncio.gather(*strangers)] == [404] * 5

    in_site(main)


def test_pages_that_have_a_socket_ask_no_view_for_what_it_has_brought(running: Dataset) -> None:
    run = Run.objects.get()
    head = Head.objects.get()

    async def main(site: Site) -> None:
        def unchanged(version: int) -> Scope:
            return header("cats", f"v={version}&epoch={head.epoch}")

        frames: asyncio.Queue[Any] = asyncio.Queue()
        watcher = Watcher(Form.PANEL, frames.put, lambda _: None)
        current_hub().watch(running.pk, watcher)
        await frames.get()
        assert (await site.shared(unchanged(head.version)))[0] == 204
        asked = site.asked
        for number in range(1, 4):
            await aside(services.report, run.pk, current=number)
            await frames.get()
            assert (await site.shared(unchanged(head.version + number)))[0] == 204
        assert site.asked == asked
        current_hub().remove_watcher(watcher, [running.pk])

    in_site(main)


def test_a_report_is_seen_by_whoever_asks_after_it(running: Dataset) -> None:
    run = Run.objects.get(dataset=running)

    async def main(site: Site) -> None:
        for current in range(1, 30):
            await site.shared(json("cats"))
            await aside(services.report, run.pk, current=current)
            assert f'"current":{current},'.encode() in (await site.shared(json("cats")))[2]

    in_site(main)


def test_a_crowd_does_not_get_an_answer_of_before_it_came(running: Dataset) -> None:
    """A view that has read before a report may not answer for those who ask after it."""
    run = Run.objects.get(dataset=running)

    async def main(site: Site) -> None:
        await site.shared(json("cats"))
        await aside(services.report, run.pk, current=1)
        reading = asyncio.create_task(site.shared(json("cats")))
        await site.begun.acquire()
        await aside(services.report, run.pk, current=2)
        later = [await site.shared(json("cats")) for _ in range(3)]
        await reading
        assert all(b'"current":2,' in answer[2] for answer in later)

    in_site(main)


def test_a_change_that_nobody_announced_is_found(running: Dataset) -> None:
    async def main(site: Site) -> None:
        query = shown(await site.shared(header("cats")))
        assert (await site.shared(header("cats", query)))[0] == 204
        await aside(Head.objects.filter(dataset=running).update, version=1_000)
        async with asyncio.timeout(30):
            while (await site.shared(header("cats", query)))[0] == 204:  # noqa: ASYNC110 -- no event marks it
                await asyncio.sleep(0.05)

    in_site(main)


def test_a_page_that_is_ahead_of_this_process_is_not_taken_back(running: Dataset) -> None:
    async def main(site: Site) -> None:
        query = shown(await site.shared(header("cats")))
        assert (await site.shared(bar("cats")))[0] == 200  # and it is kept
        await aside(Head.objects.filter(dataset=running).update, version=1_000)  # another process
        assert (await site.shared(bar("cats", re.sub(r"\bv=\d+", "v=1000", query))))[0] == 204

    in_site(main)


def test_what_may_no_longer_be_seen_is_refused(running: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_ACCESS_CHECK_SECONDS", 0.1)
    owner, stranger = User.objects.create_user("owner"), User.objects.create_user("stranger")
    Dataset.objects.filter(pk=running.pk).update(owner=owner)
    cookies = {user: cookie_of(user) for user in (owner, stranger)}

    async def main(site: Site) -> None:
        query = shown(await site.shared(header("cats", cookie=cookies[owner])))
        asked = {user: header("cats", query, cookie=cookie) for user, cookie in cookies.items()}
        for scope in [*asked.values(), header("cats", query)]:
            assert (await site.shared(scope))[0] == 204
        await aside(Dataset.objects.filter(pk=running.pk).update, visibility="private")
        async with asyncio.timeout(30):
            for scope in (asked[stranger], header("cats", query)):
                while (await site.shared(scope))[0] != 404:  # noqa: ASYNC110 -- no event marks it
                    await asyncio.sleep(0.05)
        assert (await site.shared(asked[owner]))[0] == 204

    in_site(main)


def test_repeated_answers_are_counted_against_the_address(running: Dataset, settings: Any) -> None:
    settings.READS_PER_ADDRESS = 2

    async def main(site: Site) -> None:
        statuses = [(await site.shared(json("cats")))[0] for _ in range(12)]
        assert statuses.count(200) in (10, 11)  # a burst is five seconds' worth
        assert statuses[-1] == 429

    in_site(main)
