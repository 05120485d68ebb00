"""Which files of a folder are looked at, and the count of those that are not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

LITTER: Final = {
    name.lower(): name
    for name in (
        "@eaDir", "@Recycle", "@tmp", "#recycle", "#snapshot", "$RECYCLE.BIN", "RECYCLER", "System Volume Information",
        "__MACOSX", "lost+found", "Thumbs.db", "ehthumbs.db", "desktop.ini",
    )
}  # fmt: skip
"""What operating systems and storage devices leave in folders, by name in small letters."""

HIDDEN: Final = "hidden"
NO_ENDING: Final = "no ending"
LINKS_TO_FOLDERS: Final = "links to folders"
SPECIAL: Final = "pipes and devices"
_ONE: Final = {LINKS_TO_FOLDERS: "link to a folder", SPECIAL: "pipe or device"}
# How many different endings are counted each by itself, and how long one may be.
MOST_ENDINGS: Final = 100
LONGEST_ENDING: Final = 16
OTHER_ENDINGS: Final = "other endings"
# How many words a line names.
MOST_SHOWN: Final = 8
MOST_PATTERNS: Final = 200
LONGEST_PATTERN: Final = 500
MOST_STARS: Final = 3


class PatternsRefused(ValueError):
    """Lines that are no patterns of gitignore's. The message is for the person who wrote them."""


@dataclass(frozen=True)
class Selection:
    """Which files of a folder are looked at, in the syntax of gitignore, one pattern a line.

    ``include``: only files that match; empty: all. ``exclude``: not those that match, nor what is below a directory
    that does. Raises `PatternsRefused`.
    """

    include: str = ""
    exclude: str = ""

    def __post_init__(self) -> None:
        _ = self._included, self._excluded

    @cached_property
    def _included(self) -> GitIgnoreSpec | None:
        return _compile(self.include)

    @cached_property
    def _excluded(self) -> GitIgnoreSpec | None:
        return _compile(self.exclude)

    def leaves_out_directory(self, path: str) -> bool:
        return self._excluded is not None and self._excluded.match_file(f"{path}/")

    def leaves_out_file(self, path: str) -> bool:
        """Whether the patterns leave out the file at ``path``, relative to the folder."""
        if self._excluded is not None and self._excluded.match_file(path):
            return True
        return self._included is not None and not self._included.match_file(path)

    def leaves_out(self, path: str) -> bool:
        """Whether the file at ``path`` is left out by the patterns, or because it or a directory above it is litter."""
        return any(litter_name(part) for part in path.split("/")) or self.leaves_out_file(path)


@dataclass
class Tally:
    """How many files of a folder were not looked at, and why. It keeps no paths, so it does not grow with them.

    ``others`` counts by the ending of the name, ``left_out`` by what was left out by name. A directory that is left out
    counts once, because what is in it is not listed. ``excluded`` are files and directories that patterns left out.
    """

    others: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    excluded: int = 0

    def add_other(self, name: str) -> None:
        """Count a file that is no image."""
        ending = PurePosixPath(name.strip()).suffix.lower()
        if not ending or len(ending) > LONGEST_ENDING or not ending.isprintable():
            ending = NO_ENDING
        if ending not in self.others and len(self.others) >= MOST_ENDINGS:
            ending = OTHER_ENDINGS
        self.others[ending] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            "others": dict(self.others.most_common()),
            "left_out": dict(self.left_out.most_common()),
            "excluded": self.excluded,
        }


def describe(files: Mapping[str, Any]) -> str:
    """Return in one line what a `Tally` counted, from its JSON; empty if it counted nothing."""
    sentences = []
    others = Counter(files.get("others", {}))
    if total := others.total():
        sentences.append(f"{total:,} other {'file' if total == 1 else 'files'}: {_listed(others)}.")
    if left_out := Counter(files.get("left_out", {})):
        sentences.append(f"Left out: {_listed(left_out)}.")
    if excluded := files.get("excluded", 0):
        sentences.append(f"{excluded:,} excluded by patterns.")
    return " ".join(sentences)


def _listed(counts: Counter[str]) -> str:
    """Return counts with their words, the largest first; beyond `MOST_SHOWN` their sum."""
    shown = counts.most_common(MOST_SHOWN)
    listed = [f"{count:,} {_ONE.get(word, word) if count == 1 else word}" for word, count in shown]
    rest = counts.total() - sum(count for _, count in shown)
    return ", ".join(listed) + (f" and {rest:,} more" if rest else "")


def litter_name(name: str) -> str:
    """Return under which word a file or directory of that name is left out and counted; empty if it is not."""
    return HIDDEN if name.startswith(".") else LITTER.get(name.lower(), "")


def clean_patterns(lines: Iterable[str]) -> str:
    """Return patterns, one a line, without blank lines. Raises `PatternsRefused`."""
    patterns = [line.rstrip("\r\n") for line in lines if line.strip()]
    if len(patterns) > MOST_PATTERNS:
        raise PatternsRefused(f"At most {MOST_PATTERNS} patterns are taken.")
    text = "\n".join(patterns)
    _compile(text)
    return text


def _compile(text: str) -> GitIgnoreSpec | None:
    if not text:
        return None
    # Loaded where there are patterns: the pool's processes have none, and load this module too.
    from pathspec import GitIgnoreSpec
    from pathspec.patterns.gitignore import GitIgnorePatternError

    if "\0" in text:
        raise PatternsRefused("A pattern has no NUL in it.")
    for pattern in text.split("\n"):
        # A pattern becomes a regular expression, and each star may cost as many steps as a name has characters.
        stars = [len(re.findall(r"\*+", part)) for part in pattern.split("/")]
        if len(pattern) > LONGEST_PATTERN or max(stars) > MOST_STARS or pattern.count("**") > MOST_STARS:
            raise PatternsRefused(
                f"A pattern has at most {LONGEST_PATTERN} characters, and {MOST_STARS} stars between two slashes."
            )
    try:
        return GitIgnoreSpec.from_lines(text.split("\n"))
    except GitIgnorePatternError as error:
        raise PatternsRefused(f"This is no pattern of gitignore's: {error}") from error
