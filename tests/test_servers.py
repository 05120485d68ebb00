"""The servers that tests start for themselves start, answer and are gone."""

from __future__ import annotations

import psycopg

from . import services


def test_postgresql_answers_while_the_block_lasts_and_is_gone_after() -> None:
    with services.postgresql() as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert not server.answers()


def test_redis_answers_while_the_block_lasts_and_can_be_started_again_on_its_port() -> None:
    with services.redis() as server:
        assert server.answers()
    assert not server.answers()
    with services.redis(server.port) as again:
        assert again == server
        assert again.answers()
    assert not server.answers()
