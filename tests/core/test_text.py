"""Text that is printed: what a terminal would obey is replaced."""

from __future__ import annotations

import io
import logging
import logging.config
from typing import Any

import pytest
from django.conf import settings

from apps.core.text import printable


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Grüße, 日本 [/x]", "Grüße, 日本 [/x]"),
        ("\x1b[2J\x9b2J\x07\r\n", " [2J 2J   "),
        ("safe\u202egnp.exe", "safe gnp.exe"),
        ("lone \udc80", "lone  "),
    ],
)
def test_printable(text: str, printed: str) -> None:
    assert printable(text) == printed


def test_lines_are_kept_where_they_are_asked_for() -> None:
    assert printable("one\n\x1btwo\r\nthree", lines=True) == "one\n two\nthree"


def test_a_log_record_cannot_pretend_to_be_two() -> None:
    written = io.StringIO()
    configured = logging.config.DictConfigurator({"version": 1})
    handler = logging.StreamHandler(written)
    formatters: Any = settings.LOGGING["formatters"]
    handler.setFormatter(configured.configure_formatter(dict(formatters["line"])))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("\x1b[31mred\nsecond")
    except ValueError:
        logger.exception("cannot read %s", "a\n2026-01-01 ERROR forged\x1b[2J")
    first, *traceback = written.getvalue().splitlines()
    assert first.endswith("ERROR test: cannot read a 2026-01-01 ERROR forged [2J")
    assert traceback[0].startswith("Traceback")
    assert traceback[-2:] == ["ValueError:  [31mred", "second"]
