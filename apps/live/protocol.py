"""The JSON protocol of the API's sockets: parses what a client sends and words the answers.

Nothing here touches a socket, a database or an event loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

# Close codes of our own: 4000 plus the HTTP status of the same meaning.
CLOSE_NOT_FOUND: Final = 4404  # the dataset is unknown, or this client may not see it (any more)
CLOSE_TOO_LARGE: Final = 4413  # a second message over the size limit
CLOSE_TOO_MANY: Final = 4429  # a second message over the rate limit, or too many connections from one address
CLOSE_UNAVAILABLE: Final = 4503  # the database does not answer: connect again later

# Datasets that one error message names before it counts the rest.
MAX_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Subscribe:
    dataset_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    dataset_ids: tuple[str, ...]


class ProtocolError(ValueError):
    """A message that is no command. The text of the error is meant for the client."""


def parse(text: str | None, *, only: str | None = None, key: str = "dataset_id") -> Subscribe | Unsubscribe:
    """Return the command in a client's message, or raise `ProtocolError`.

    ``text`` is None for a binary message. ``only`` is the id in the socket's address, for a socket of one dataset or
    batch: a message to it may name no other. ``key`` is how that is called.
    """
    if text is None:
        raise ProtocolError("Send JSON as text frames.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError("This is not JSON.") from None
    match message:
        case {"type": "subscribe"}:
            return Subscribe(_dataset_ids(message, only, key))
        case {"type": "unsubscribe"}:
            return Unsubscribe(_dataset_ids(message, only, key))
    raise ProtocolError('The "type" of a message is "subscribe" or "unsubscribe".')


def _dataset_ids(message: dict[str, Any], only: str | None, key: str) -> tuple[str, ...]:
    if only is not None:
        if message.get(key) != only:
            raise ProtocolError(f'The "{key}" of this socket is "{only}".')
        return (only,)
    dataset_ids = message["dataset_ids"] if "dataset_ids" in message else [message.get("dataset_id")]
    if not isinstance(dataset_ids, list) or not all(isinstance(dataset_id, str) for dataset_id in dataset_ids):
        raise ProtocolError('Name datasets as "dataset_id": "…" or as "dataset_ids": ["…", "…"].')
    return tuple(dataset_ids)


def error_text(message: str) -> str:
    """Return the text of an error frame."""
    return json.dumps({"type": "error", "message": message})


def unknown_datasets(dataset_ids: Sequence[str], *, any_more: bool = False) -> str:
    """Return the error message for datasets that do not exist, or ``any_more``: that were watched until now.

    A dataset that the client may not see gets the same message.
    """
    named = ", ".join(dataset_ids[:MAX_NAMED])
    more = f" and {len(dataset_ids) - MAX_NAMED} more" if len(dataset_ids) > MAX_NAMED else ""
    return f"There is no dataset {named}{more}{' any more' if any_more else ''}."
