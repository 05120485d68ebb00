"""One table over every way to a dataset: page, partial, API, file and socket, with sessions and with tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.datasets.models import Dataset, Sample, Token
from apps.datasets.services import issue_token
from apps.pipeline.images.media import thumbnail_folder
from apps.pipeline.images.thumbnails import thumbnail_path
from apps.progress import services
from tests.processes import Server

from .conftest import login

# Who comes, and whether a private dataset is there for them, and a public one.
SEES: dict[str, tuple[bool, bool]] = {
    "anyone": (False, True),
    "stranger": (False, True),
    "owner": (True, True),
    "member": (True, True),
    "staff": (True, True),
    "token of the site": (True, True),
    "token that only reads": (True, True),
    "token of the owner": (True, True),
    "token of a member": (True, True),
    "token of staff": (True, True),
    "token of a stranger": (False, True),
    "token for others": (False, False),
}
# A token that does not hold is no caller at all: refused, and not taken for anyone.
REFUSED = ["token that was revoked", "token that has expired", "token of a closed account", "token that is none"]

PATHS: dict[str, str] = {
    "page": "/datasets/{dataset_id}/",
    "header partial": "/datasets/{dataset_id}/progress/header/",
    "bar partial": "/datasets/{dataset_id}/progress/bar/",
    "sample": "/datasets/{dataset_id}/samples/{sample}/",
    "thumbnail": "/datasets/{dataset_id}/samples/{sample}/thumbnail/",
    "API": "/api/datasets/{dataset_id}/progress",
    "API, the dataset": "/api/datasets/{dataset_id}",
    "API, its runs": "/api/datasets/{dataset_id}/runs",
    "API, a run": "/api/datasets/{dataset_id}/runs/1",
}
SOCKETS = {
    "page's socket": "/datasets/{dataset_id}/progress/live/",
    "API's socket": "/api/datasets/{dataset_id}/progress/ws",
}


@pytest.fixture
def people(transactional_db: None) -> dict[str, dict[str, str]]:
    """The headers of each caller."""
    users = {name: User.objects.create_user(name, is_staff=name == "staff") for name in SEES if " " not in name}
    gone = User.objects.create_user("gone", is_active=False, is_staff=True)
    for dataset_id in ("private", "public"):
        dataset = Dataset.objects.create(dataset_id=dataset_id, visibility=dataset_id, owner=users["owner"])
        dataset.members.add(users["member"])
        services.begin_run(dataset)
        sample = Sample.objects.create(
            dataset=dataset, path="a.jpg", size=1, mtime_ns=1, sha256="0" * 64, format="JPEG", width=1, height=1,
            thumbnail_width=1, thumbnail_height=1, seen_in_run=1,
        )  # fmt: skip
        thumbnail = Path(thumbnail_path(str(thumbnail_folder(dataset.pk)), sample.sha256))
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        thumbnail.write_bytes(b"a thumbnail")
    made: dict[str, str] = {
        "token of the site": issue_token("x")[1],
        "token that only reads": issue_token("x", can_write=False)[1],
        "token of the owner": issue_token("x", user=users["owner"], datasets="p*")[1],
        "token of a member": issue_token("x", user=users["member"])[1],
        "token of staff": issue_token("x", user=users["staff"])[1],
        "token of a stranger": issue_token("x", user=users["stranger"])[1],
        "token for others": issue_token("x", datasets="Public,public-*,pub")[1],
        "token of a closed account": issue_token("x", user=gone)[1],
        "token that is none": "dp_nonsense",
    }
    for name, field in (("token that was revoked", "revoked_at"), ("token that has expired", "expires_at")):
        token, made[name] = issue_token("x")
        Token.objects.filter(pk=token.pk).update(**{field: timezone.now()})
    sessions = {name: login(user) for name, user in users.items() if name != "anyone"}
    bearers = {name: {"Authorization": f"Bearer {secret}"} for name, secret in made.items()}
    return {"anyone": {}, **sessions, **bearers}


@pytest.mark.parametrize("who", SEES)
def test_what_a_caller_may_see(server: Server, people: dict[str, dict[str, str]], who: str) -> None:
    seen: dict[str, tuple[bool, bool]] = {}
    by_token = "token" in who
    with httpx.Client(base_url=server.url, headers=people[who], timeout=60) as client:
        for name, path in PATHS.items():
            if by_token and not name.startswith("API"):
                continue  # tokens are for the API alone: pages know sessions
            there = []
            for dataset_id in ("private", "public"):
                sample = Sample.objects.get(dataset__dataset_id=dataset_id)
                response = client.get(path.format(dataset_id=dataset_id, sample=sample.pk))
                assert response.status_code in (200, 404), (name, response.status_code)
                there.append(response.status_code == 200)
            seen[name] = (there[0], there[1])
        listed = {row["dataset_id"] for row in client.get("/api/datasets").json()["datasets"]}
        seen["API, the list"] = ("private" in listed, "public" in listed)
        if not by_token:
            page = client.get("/").text
            seen["list"] = ("/datasets/private/" in page, "/datasets/public/" in page)
    for name, path in SOCKETS.items():
        if by_token and not name.startswith("API"):
            continue
        seen[name] = tuple(
            hears(server, path.format(dataset_id=dataset_id), dataset_id, people[who])
            for dataset_id in ("private", "public")
        )  # type: ignore[assignment]  # as many values as names
    assert seen == dict.fromkeys(seen, SEES[who])


@pytest.mark.parametrize("who", REFUSED)
def test_a_token_that_does_not_hold_is_refused(server: Server, people: dict[str, dict[str, str]], who: str) -> None:
    for path in ("/api/datasets", "/api/datasets/public/progress", "/api/datasets/public", "/api/datasets/public/runs"):
        response = httpx.get(server.url + path, headers=people[who], timeout=60)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not hears(server, SOCKETS["API's socket"].format(dataset_id="public"), "public", people[who])


def hears(server: Server, path: str, dataset_id: str, headers: dict[str, str]) -> bool:
    """Whether a socket says how far the dataset is; else it has to be closed as for one that is not there."""
    heard: list[str] = []
    with connect(server.socket_url + path, additional_headers=headers) as socket:
        if path.startswith("/api/"):
            socket.send(json.dumps({"type": "subscribe", "dataset_id": dataset_id}))
        with suppress(ConnectionClosed):
            while not any("progress" in text for text in heard):
                heard.append(str(socket.recv(timeout=30)))
        assert socket.close_code in (None, 4404)
        return socket.close_code is None


def test_the_hash_of_a_token_is_no_token(server: Server, people: dict[str, dict[str, str]]) -> None:
    stored = Token.objects.filter(user=None, datasets="*", revoked_at=None, expires_at=None).first()
    assert stored is not None
    for headers in ({"Cookie": f"sessionid=token:{stored.digest}"}, {"Authorization": f"Bearer {stored.digest}"}):
        assert not hears(server, SOCKETS["API's socket"].format(dataset_id="private"), "private", headers)


WRITERS: dict[str, tuple[int, int]] = {
    "token of the site": (200, 200),
    "token that only reads": (403, 403),
    "token of the owner": (200, 200),
    "token of a member": (200, 200),
    "token of staff": (200, 200),
    "token of a stranger": (404, 403),
    "token for others": (403, 403),
    **dict.fromkeys(REFUSED, (401, 401)),
    **dict.fromkeys([name for name in SEES if "token" not in name], (401, 401)),
}


# Who may do less than report: on the pages too, only the owner and staff pause, cancel, forget and delete.
STEERERS = {"token of a member": (403, 403)}


@pytest.mark.parametrize("who", WRITERS)
def test_what_a_caller_may_write(server: Server, people: dict[str, dict[str, str]], who: str) -> None:
    asked: dict[str, Callable[[httpx.Client, str], Any]] = {
        "report": lambda client, dataset_id: client.post(f"/api/datasets/{dataset_id}/progress", json={"current": 1}),
        "batch": lambda client, dataset_id: client.post(
            "/api/progress", json={"updates": [{"dataset_id": dataset_id, "current": 2}]}
        ),
        "run": lambda client, dataset_id: client.post(f"/api/datasets/{dataset_id}/runs", json={"replace": True}),
        "control": lambda client, dataset_id: client.post(
            f"/api/datasets/{dataset_id}/control", json={"action": "pause"}
        ),
        "sharing": lambda client, dataset_id: client.patch(f"/api/datasets/{dataset_id}/sharing", json={"members": []}),
        "forget missing samples": lambda client, dataset_id: client.delete(f"/api/datasets/{dataset_id}/missing"),
        "delete": lambda client, dataset_id: client.delete(f"/api/datasets/{dataset_id}"),
    }
    with httpx.Client(base_url=server.url, headers=people[who], timeout=60) as client:
        for name, ask in asked.items():
            got = []
            for dataset_id in ("private", "public"):
                response = ask(client, dataset_id)
                status = response.status_code
                if name == "batch" and status == 200:
                    status = response.json()["results"][0]["status"]
                got.append(200 if status in (201, 204) else status)
            steers = name in ("control", "sharing", "forget missing samples", "delete")
            assert tuple(got) == (STEERERS if steers else {}).get(who, WRITERS[who]), name


def test_a_token_that_is_revoked_closes_its_sockets(server: Server, people: dict[str, dict[str, str]]) -> None:
    with connect(
        f"{server.socket_url}/api/datasets/public/progress/ws", additional_headers=people["token of the owner"]
    ) as socket:
        socket.send(json.dumps({"type": "subscribe", "dataset_id": "public"}))
        assert "progress_update" in str(socket.recv(timeout=30))
        Token.objects.filter(user__username="owner").update(revoked_at=timezone.now())
        with suppress(ConnectionClosed):
            while True:
                socket.recv(timeout=30)
    assert socket.close_code == 4404


def test_the_admin_is_for_staff(server: Server, people: dict[str, dict[str, str]]) -> None:
    for who, headers in people.items():
        response = httpx.get(f"{server.url}/admin/datasets/dataset/", headers=headers, timeout=60)
        # Staff without a permission of the admin are told so; all others are sent to its login.
        assert response.status_code == (403 if who == "staff" else 302), who
    assert Client().get("/admin/datasets/token/").status_code == 302
