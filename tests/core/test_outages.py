"""What the log says of a database that is away."""

from __future__ import annotations

import logging
import sys

from django.db import OperationalError

from apps.core.outages import OutageInOneLine
from apps.core.text import PrintableFormatter


def line_of(error: Exception) -> str:
    """What a handler of ours writes of an error that a library logs."""
    try:
        raise error
    except Exception:
        record = logging.LogRecord("django.tasks", logging.ERROR, __file__, 1, "Task %s", ("7",), sys.exc_info())
    assert OutageInOneLine().filter(record)
    return PrintableFormatter().format(record)


def test_an_outage_is_one_line_with_its_reason() -> None:
    assert line_of(OperationalError("the database system is\nstarting up")) == (
        "Task 7: the database system is starting up"
    )


def test_a_fault_keeps_its_traceback() -> None:
    text = line_of(ValueError("5 is not 6"))
    assert text.startswith("Task 7\nTraceback")
    assert text.endswith("ValueError: 5 is not 6")
