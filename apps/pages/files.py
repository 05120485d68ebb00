"""Serve an open file: as a whole or a range of it, only where it has changed, and no faster than the client reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_http_date_safe, quote_etag

CHUNK_BYTES: Final = 64 * 1024


class Unsatisfiable(Exception):
    """A range that has no byte of the file."""


def file_response(request: HttpRequest, file: BinaryIO, headers: dict[str, str]) -> HttpResponseBase:
    """Return the response to a GET or HEAD request for ``file``, which is closed when it has been sent.

    The content is untrusted: the browser may neither guess its type nor run it. Where `X_ACCEL_REDIRECT` is set, the
    proxy in front sends the file.
    """
    status = os.fstat(file.fileno())
    etag, size = quote_etag(f"{status.st_mtime_ns:x}-{status.st_size:x}"), status.st_size
    headers = headers | {
        "ETag": etag,
        "Last-Modified": http_date(status.st_mtime),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    whole = HttpResponse(headers=headers)
    modified = int(status.st_mtime)
    response = get_conditional_response(request, etag=etag, last_modified=modified, response=whole)
    if response is not None and response is not whole:  # 304 or 412
        file.close()
        return response
    if settings.X_ACCEL_REDIRECT:
        whole.headers["X-Accel-Redirect"] = settings.X_ACCEL_REDIRECT[:-1] + quote(_path_of(file))
        file.close()
        return whole
    try:
        start, end = _requested_range(request, size, etag, modified) or (0, size)
    except Unsatisfiable:
        file.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}", "Cache-Control": "no-store"})
    headers["Content-Length"] = str(end - start)
    code = HTTPStatus.OK
    if end - start < size:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        code = HTTPStatus.PARTIAL_CONTENT
    if request.method == "HEAD":
        file.close()
        return HttpResponse(status=code, headers=headers)
    file.seek(start)
    return _body(request, file, end - start, headers, code)


def _body(
    request: HttpRequest, file: BinaryIO, length: int, headers: dict[str, str], code: HTTPStatus
) -> HttpResponseBase:
    if length <= CHUNK_BYTES:
        with file:
            return HttpResponse(file.read(length), status=code, headers=headers)
    # The server sends it after the view has returned, so a slow client holds no thread (`progress_site.servers.door`).
    hand_over = getattr(request, "scope", {}).get("hand_over")
    if hand_over is None:
        return StreamingHttpResponse(_chunks(file, length), status=code, headers=headers)
    hand_over(file, length)
    return HttpResponse(status=code, headers=headers)


def _chunks(file: BinaryIO, length: int) -> Iterator[bytes]:
    with file:
        while length > 0 and (chunk := file.read(min(length, CHUNK_BYTES))):
            length -= len(chunk)
            yield chunk


def _requested_range(request: HttpRequest, size: int, etag: str, modified: int) -> tuple[int, int] | None:
    """Return the first byte that is asked for and the one after the last; None for the whole file.

    Several ranges at once are answered with the whole file, as RFC 9110 allows. Raises `Unsatisfiable`.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("Range", ""))
    if request.method != "GET" or found is None or found.group() == "bytes=-":
        return None
    condition = request.headers.get("If-Range", etag)
    if condition != etag and parse_http_date_safe(condition) != modified:
        return None  # of another version of the file
    first, last = found.groups()
    if first:
        start, end = int(first), int(last) + 1 if last else size
        if last and end <= start:
            return None  # not a range
    else:
        start, end = max(0, size - int(last)), size
    if start >= min(end, size):
        raise Unsatisfiable
    return start, min(end, size)


def _path_of(file: BinaryIO) -> str:
    """Return the path of an open file, with links resolved: where it is, however its path was changed since."""
    return str(Path(f"/proc/self/fd/{file.fileno()}").readlink())
