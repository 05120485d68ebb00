"""Who reads much of a SQLite database does not keep its pages in the memory of the process."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from apps.core.mapping import unmapped

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL maps nothing into our processes"),
]


def mapped() -> Any:
    connection.ensure_connection()
    return connection.connection.execute("PRAGMA mmap_size").fetchone()


def test_nothing_is_mapped_within_and_the_same_as_before_after_it() -> None:
    before = mapped()
    assert before > (0,)
    with unmapped():
        assert mapped() == (0,)
    assert mapped() == before
    with pytest.raises(ValueError, match="stop"), unmapped():
        raise ValueError("stop")
    assert mapped() == before
