"""The database servers that tests start: they answer while a test runs, and are gone afterwards."""

from __future__ import annotations

import psycopg
import pytest

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


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_program_skips_and_in_ci_fails(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-program is missing: apt-get install some-package"):
        services.find_program("no-such-program", package="some-package")
