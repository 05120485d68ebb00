"""The thread of a worker that sends notifications. A channel that hangs holds up no other."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from django.db import Error, connection

from apps.core.text import one_line

from . import allowed_addresses, services
from .batch_ends import end_batches

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
AT_ONCE: Final = 8


def send_often(stopping: threading.Event) -> None:
    """Handle events and send what is due, until ``stopping`` is set."""
    allowed_addresses.guard()
    sending: dict[int, Future[None]] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="notifications") as threads:
        while not stopping.wait(LOOK_SECONDS):
            sending = {pk: future for pk, future in sending.items() if not future.done()}
            try:
                while services.handle_events():
                    pass
                end_batches()
                for pk in services.due_subscriptions():
                    if pk not in sending and len(sending) < AT_ONCE:
                        sending[pk] = threads.submit(_send, pk)
            except (Error, OSError) as error:
                logger.debug("could not look for notifications; the next look finds them: %s", one_line(error))
            connection.close()
        threads.shutdown(wait=False, cancel_futures=True)


def _send(subscription_pk: int) -> None:
    try:
        services.send_due(subscription_pk)
    except (Error, OSError) as error:
        logger.debug("a notification waits for the database: %s", one_line(error))
    except Exception:
        logger.exception("notifications of subscription %s", subscription_pk)
    finally:
        connection.close()
