"""What the RFCs ask of a server, seen by a client of bytes: both servers answer, close and identify files alike."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from apps.datasets.models import Dataset, Sample
from apps.live.limits import MAX_FRAME_BYTES
from apps.pipeline.models import Source
from progress_site.servers.door import MAX_BODY_BYTES, MAX_HEADER_BYTES
from tests.processes import DAPHNE, UVICORN, Server, collect_static, web_server

from .raw import CLOSE, TEXT, Answer, answer_of, close_code, frame, line_to, request, until_closed, websocket


@pytest.fixture(scope="module", params=[DAPHNE, UVICORN], ids=["daphne", "uvicorn"])
def server(
    request: pytest.FixtureRequest, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    collect_static()
    with web_server(tmp_path_factory.mktemp("server") / "log", program=request.param) as server:
        yield server


@pytest.fixture
def original(dataset: Dataset, tmp_path: Path) -> tuple[str, bytes]:
    """The address of a sample's original of several chunks, and its content."""
    content = bytes(range(256)) * 1000
    (tmp_path / "a.jpg").write_bytes(content)
    Source.objects.create(dataset=dataset, folder=str(tmp_path))
    sample = Sample.objects.create(
        dataset=dataset, path="a.jpg", sha256="a" * 64, size=len(content), mtime_ns=0, format="JPEG", width=1, height=1,
        thumbnail_width=1, thumbnail_height=1, seen_in_run=1,
    )  # fmt: skip
    return f"/datasets/{dataset.dataset_id}/samples/{sample.pk}/original/", content


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(3), 1002),
        (frame(TEXT, b"x", first=0xC0), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * (MAX_FRAME_BYTES + 1)), 1009),
        (frame(TEXT, b"x" * 1_000_000), 1009),
    ],
    ids=["reserved opcode", "reserved bit", "short close", "no UTF-8", "too large", "much too large"],
)
def test_what_breaks_the_protocol_is_told_in_a_close_frame(
    server: Server, dataset: Dataset, wrong: bytes, code: int
) -> None:
    with websocket(server) as line:
        line.sendall(wrong)
        assert close_code(line) == code


@pytest.mark.parametrize("code", [1000, 1001, 4001])
def test_close_code_is_echoed(server: Server, dataset: Dataset, code: int) -> None:
    with websocket(server) as line:
        line.sendall(frame(CLOSE, struct.pack("!H", code) + b"bye"))
        assert close_code(line) == code


def test_refused_handshake_has_a_date(server: Server, dataset: Dataset) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    answer = request(server, "/nowhere", Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==", **headers)
    assert answer.status == 403
    assert len(answer.headers.get_all("Date", [])) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/nowhere", 404), ("/health/", 200), ("/static/favicon.svg", 404), ("/tokens/", 302)],
)
def test_every_answer_has_one_date(server: Server, dataset: Dataset, path: str, status: int) -> None:
    answer = request(server, path)
    assert answer.status == status
    assert len(answer.headers.get_all("Date", [])) == 1


def test_pages_are_asked_for_again_and_kept_for_the_back_button(server: Server, dataset: Dataset) -> None:
    for path in ("/", f"/datasets/{dataset.dataset_id}/"):
        assert request(server, path).headers["Cache-Control"] == "private, no-cache"


def test_pages_are_compressed_where_their_length_tells_nothing(server: Server, dataset: Dataset) -> None:
    path = f"/datasets/{dataset.dataset_id}/"
    plain = request(server, path)
    assert "Content-Encoding" not in plain.headers

    def is_compressed(**headers: str) -> bool:
        answer = request(server, path, Accept_Encoding="gzip", **headers)
        if answer.headers["Content-Encoding"] != "gzip":
            return False
        assert b"</html>" in gzip.decompress(answer.body)
        assert len(answer.body) < len(plain.body) // 2
        assert "Accept-Encoding" in answer.headers["Vary"]
        return True

    assert is_compressed()
    assert is_compressed(Cookie="sessionid=x", Sec_Fetch_Site="same-origin")
    assert is_compressed(Cookie="sessionid=x", Sec_Fetch_Site="none")
    assert not is_compressed(Cookie="sessionid=x", Sec_Fetch_Site="cross-site")
    assert not is_compressed(Cookie="sessionid=x", Sec_Fetch_Site="same-site")
    assert not is_compressed(Cookie="sessionid=x")


def test_compressed_page_has_another_length_each_time(server: Server, dataset: Dataset) -> None:
    path = f"/datasets/{dataset.dataset_id}/"
    assert len({len(request(server, path, Accept_Encoding="gzip").body) for _ in range(8)}) > 1


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/datasets/cats/progress", {}, 200),
        ("/api/datasets/cats/progress", {"If_Match": '"other"'}, 412),
        ("/api/datasets/dogs/progress", {}, 404),
        ("/api/nowhere", {}, 404),
        ("/api/datasets", {}, 200),
        ("/api/datasets", {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_answers_of_the_api_vary_by_token(
    server: Server, dataset: Dataset, path: str, headers: dict[str, str], status: int
) -> None:
    answer = request(server, path, **headers)
    assert answer.status == status
    assert "Authorization" in answer.headers["Vary"]
    assert "no-cache" in answer.headers["Cache-Control"]
    assert len(answer.headers.get_all("Date", [])) == 1


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/progress", {"Content_Length": str(MAX_BODY_BYTES + 1)}, 413),
        ("/", {"Content_Length": "1000000000"}, 413),
        ("/api/progress", {"Content_Length": "1000000000", "Expect": "100-continue"}, 413),
        ("/api/progress", {"X_Long": "x" * MAX_HEADER_BYTES}, 431),
        ("/", {f"X_{number}": "x" * 100 for number in range(200)}, 431),
        ("/" + "x" * MAX_HEADER_BYTES, {}, 414),
    ],
    ids=["body", "body of a page", "body that waits", "long header", "many headers", "long address"],
)
def test_what_is_too_large_is_refused_before_it_has_come(
    server: Server, dataset: Dataset, path: str, headers: dict[str, str], status: int
) -> None:
    answer = request(server, path, "POST", **headers)
    assert answer.status == status
    assert len(answer.headers.get_all("Date", [])) == 1
    assert answer.headers["Connection"] == "close"
    if path.startswith("/api/"):
        assert json.loads(answer.body)["code"] == "too_large"


def chunk(size: int) -> bytes:
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


@pytest.mark.parametrize(("path", "is_json"), [("/api/progress", True), ("/accounts/login/", False)])
def test_chunked_body_is_counted(server: Server, dataset: Dataset, path: str, is_json: bool) -> None:
    body = chunk(50_000) * (4 * MAX_BODY_BYTES // 50_000)
    answer = request(server, path, "POST", body, Transfer_Encoding="chunked", Content_Type="application/json")
    assert answer.status == 413
    assert answer.headers["Content-Type"].startswith("application/json") == is_json


def test_largest_body_is_taken(server: Server, dataset: Dataset) -> None:
    whole = b"x" * MAX_BODY_BYTES
    answer = request(server, "/api/progress", "POST", whole, Content_Length=str(len(whole)))
    assert answer.status in (401, 415)
    parts = chunk(MAX_BODY_BYTES // 2) * 2 + b"0\r\n\r\n"
    answer = request(server, "/api/progress", "POST", parts, Transfer_Encoding="chunked")
    assert answer.status in (401, 415)


def test_what_is_no_request_is_answered(server: Server, dataset: Dataset) -> None:
    with line_to(server) as line:
        line.sendall(b"nonsense\r\n\r\n")
        answer = answer_of(until_closed(line))
    assert answer.status == 400
    assert len(answer.headers.get_all("Date", [])) == 1


def test_connection_is_used_again_after_a_body(server: Server, dataset: Dataset) -> None:
    """Nothing of the first request is left for the second."""
    one = f"POST /api/progress HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 5\r\n\r\nabcde"
    last = f"GET /health/ HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
    with line_to(server) as line:
        line.sendall((one + last).encode())
        received = until_closed(line)
    assert received.count(b"HTTP/1.1 401 ") == 1
    assert received.endswith(b"ok")


def test_original_is_identified(server: Server, original: tuple[str, bytes]) -> None:
    path, content = original
    whole = request(server, path)
    assert (whole.status, whole.body) == (200, content)
    assert whole.headers["Accept-Ranges"] == "bytes"
    etag = whole.headers["ETag"]

    def get(method: str = "GET", **headers: str) -> Answer:
        return request(server, path, method, **headers)

    for unchanged in (
        get(If_None_Match=etag),
        get(If_None_Match=f'"x", {etag}'),
        get(If_Modified_Since=whole.headers["Last-Modified"]),
        get("HEAD", If_None_Match=etag),
    ):
        assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", etag)
    assert get(If_None_Match='"x"').status == 200
    assert get(If_Match='"x"').status == 412
    head = get("HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(content)))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("100-199999", 100, 199_999), ("255990-", 255_990, 255_999), ("-5", 255_995, 255_999),
     ("10-999999999", 10, 255_999), ("-999999999", 0, 255_999)],
)  # fmt: skip
def test_ranges_of_an_original(server: Server, original: tuple[str, bytes], asked: str, first: int, last: int) -> None:
    path, content = original
    answer = request(server, path, Range=f"bytes={asked}")
    assert answer.body == content[first : last + 1]
    if len(answer.body) < len(content):
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"


def test_ranges_that_are_not_served(server: Server, original: tuple[str, bytes]) -> None:
    path, content = original
    beyond = request(server, path, Range=f"bytes={len(content)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(content)}")
    etag = request(server, path, "HEAD").headers["ETag"]
    assert request(server, path, Range="bytes=0-9", If_Range=etag).status == 206
    for headers in ({"Range": "bytes=0-9", "If_Range": '"x"'}, {"Range": "bytes=9-0"}, {"Range": "bytes=0-1,5-6"}):
        whole = request(server, path, **headers)
        assert (whole.status, hashlib.sha256(whole.body).digest()) == (200, hashlib.sha256(content).digest())


def test_limits_are_one_number() -> None:
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE == settings.FILE_UPLOAD_MAX_MEMORY_SIZE == MAX_BODY_BYTES
