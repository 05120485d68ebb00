"""Which ids a pattern covers: one rule, in Python and in SQL."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from apps.datasets.access.patterns import covered, covers, parse_patterns
from apps.datasets.models import Dataset

DATASET_IDS = ["cats", "Cats", "cats-2", "cat", "team-a", "team-a-1", "Team-a-1", "team-b", "team_a", "teamXa"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", set(DATASET_IDS)),
        ("cats", {"cats"}),
        ("cats*", {"cats", "cats-2"}),
        ("team-a-*", {"team-a-1"}),
        ("team_*", {"team_a"}),
        ("cat, team-b", {"cat", "team-b"}),
        ("dogs", set()),
        ("cats *", set(DATASET_IDS)),
    ],
)
def test_a_pattern_covers_the_same_in_python_and_in_sql(db: None, text: str, expected: set[str]) -> None:
    Dataset.objects.bulk_create(Dataset(dataset_id=dataset_id) for dataset_id in DATASET_IDS)
    patterns = parse_patterns(text)
    assert {dataset_id for dataset_id in DATASET_IDS if covers(patterns, dataset_id)} == expected
    found = Dataset.objects.filter(covered(patterns)).values_list("dataset_id", flat=True)
    assert set(found) == expected


def test_patterns_have_one_form() -> None:
    assert parse_patterns(" b-*, a  b-* ") == ["a", "b-*"]
    assert parse_patterns("a *") == ["*"]


@pytest.mark.parametrize("text", ["", " ", "a?", "*a", "a*b", "-a", "a/*", "**"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_patterns(text)
