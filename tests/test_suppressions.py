"""Whatever silences a check says why, on its line."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.repository import ROOT, files

# What silences a check in each language, with what it silences.
PYTHON = re.compile(r"noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[a-z-]+(, ?[a-z-]+)*\]|pragma: no \w+")
BLANKET = re.compile(r"#\s*(?:noqa(?!: [A-Z])|type: ignore(?!\[))|\bmypy: ignore|\bruff: noqa|\bflake8: noqa")
SCRIPT = re.compile(
    r"@ts-(?:ignore|expect-error|nocheck)|eslint-disable\S*(?: [\w/-]+)*|biome-ignore \S+|c8 ignore \w+"
)
TEMPLATE = re.compile(r"\{# djlint:off(?: [A-Z]\d+,?)* #\}")
SHELL = re.compile(r"shellcheck disable=\S+")
REASON = re.compile(r"\w{2,}.*\w")


def without_reason(comment: str, directive: re.Pattern[str]) -> bool:
    """Return whether a comment silences a check and says nothing else."""
    return bool(directive.search(comment)) and not REASON.search(directive.sub("", comment))


def comments(path: Path) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def test_python() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {comment}"
        for path in files(".py")
        for number, comment in comments(path)
        if BLANKET.search(comment) or without_reason(comment, PYTHON)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("suffixes", "directive"),
    [
        ((".js", ".mjs", ".ts", ".css"), SCRIPT),
        ((".html",), TEMPLATE),
        ((".sh", ""), SHELL),
    ],
    ids=["scripts of pages", "templates", "scripts of the shell"],
)
def test_other_languages(suffixes: tuple[str, ...], directive: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files(*suffixes)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (silence := directive.search(line)) and not REASON.search(line[silence.end() :].partition("<")[0])
    ]
    assert found == []


def test_pyproject() -> None:
    """Each line that names a rule or files to leave out has a comment."""
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(
        r"^(?:ignore|exclude|extend-exclude|untyped_calls_exclude) = (?:\[\n.*?^\]|.*?$)", text, re.M | re.S
    )
    lists += re.findall(r"^\[tool\.ruff\.lint\.per-file-ignores\]\n(.*?)\n\n", text, re.M | re.S)
    lines = [line for block in lists for line in block.splitlines() if '"' in line and not line.endswith(" = [")]
    assert len(lines) > 10
    assert [line for line in lines if not REASON.search(line.partition("#")[2])] == []


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# noqa: S608", True),
        ("# type: ignore[misc]  # noqa: N801", True),
        ("# noqa: S608 -- names come from the models", False),
        ("# type: ignore[misc]  # the stubs leave it out", False),
        ("# an ordinary comment", False),
    ],
)
def test_reason_is_what_stands_beside_the_directive(comment: str, silent: bool) -> None:
    assert without_reason(comment, PYTHON) is silent
