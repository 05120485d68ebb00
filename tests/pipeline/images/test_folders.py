"""Which folders may be imported in the browser, at first and at later runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from apps.pipeline.images.folders import FolderRefused, importable_folder, source_folder
from apps.pipeline.models import Source


@pytest.fixture
def root(tmp_path: Path, settings: Settings) -> Path:
    """A folder that may be imported from, with images beside the program's own folder."""
    for name in ("images", "program/data/media"):
        (tmp_path / name).mkdir(parents=True)
    settings.IMPORT_ROOTS = [str(tmp_path)]
    settings.DATA_DIR = tmp_path / "program" / "data"
    return tmp_path


def test_a_folder_beside_the_data_folder_is_imported(root: Path) -> None:
    assert importable_folder(str(root / "images")) == root / "images"


@pytest.mark.parametrize("name", ["", "program", "program/data", "program/data/media", "images/link"])
def test_a_folder_in_or_around_the_data_folder_is_not(root: Path, name: str) -> None:
    (root / "images" / "link").symlink_to(root / "program" / "data")
    with pytest.raises(FolderRefused, match="Choose a folder under"):
        importable_folder(str(root / name))


@pytest.mark.parametrize("from_browser", [True, False])
def test_a_later_run_asks_again_of_what_was_chosen_in_the_browser(
    root: Path, settings: Settings, from_browser: bool
) -> None:
    source = Source(folder=str(root / "images"), from_browser=from_browser)
    assert source_folder(source) == root / "images"
    settings.IMPORT_ROOTS = [str(root / "program")]
    if from_browser:
        with pytest.raises(FolderRefused, match="Choose a folder under"):
            source_folder(source)
    else:
        assert source_folder(source) == root / "images"
