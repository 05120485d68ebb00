"""`manage.py process`: what it says, and the status with which it exits."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.datasets.models import Dataset
from apps.datasets.services import delete_dataset
from apps.pipeline.models import Source
from apps.progress import services as progress
from apps.progress.models import Run
from tests.images import make_images

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_images(tmp_path / "images", 2)
    return tmp_path / "images"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Run], None]], None]:
    """Have something happen to the run that is waited for, in place of the first pause between two looks."""

    def register(act: Callable[[Run], None]) -> None:
        def sleep(seconds: float) -> None:
            monkeypatch.undo()
            act(Run.objects.get(number=1))

        monkeypatch.setattr("time.sleep", sleep)

    return register


def _refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("process", *arguments)
    assert refused.value.returncode == 2
    return str(refused.value)


def _exit_status(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        call_command("process", *arguments, stdout=StringIO(), stderr=StringIO())
    return left.value.code


def test_a_folder_is_queued(folder: Path) -> None:
    out = StringIO()
    call_command("process", str(folder), "--dataset", "cats", "--name", "All cats", stdout=out)
    assert out.getvalue() == "Queued run 1 of cats.\n"
    assert Dataset.objects.get().name == "All cats"


@pytest.mark.parametrize(
    ("path", "dataset_id", "said"),
    [
        ("/no/such/folder", "cats", "There is no folder /no/such/folder."),
        ("~no-such-user/images", "cats", "There is no folder ~no-such-user/images."),
        ("", "cats", "Name a folder."),
        ("/" + "x" * 5000, "cats", "There is no folder /xxx"),
        ("/etc", "../cats", "Use letters, digits, dots, dashes and underscores"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_made(path: str, dataset_id: str, said: str) -> None:
    assert said in _refused(path, "--dataset", dataset_id)
    assert not Dataset.objects.exists()


def test_a_name_is_as_long_for_a_dataset_that_is_there(folder: Path) -> None:
    call_command("process", str(folder), "--dataset", "cats", stdout=StringIO())
    progress.finish(Run.objects.get().pk)
    assert "200 characters" in _refused(str(folder), "--dataset", "cats", "--name", "n" * 201)
    assert Dataset.objects.get().name == ""


def test_another_folder_has_to_be_meant(folder: Path, tmp_path: Path) -> None:
    call_command("process", str(folder), "--dataset", "cats", stdout=StringIO())
    progress.finish(Run.objects.get().pk)
    make_images(tmp_path / "other", 1)
    assert "Pass --replace" in _refused(str(tmp_path / "other"), "--dataset", "cats")
    assert Source.objects.get().folder == str(folder)
    call_command("process", str(tmp_path / "other"), "--dataset", "cats", "--replace", stdout=StringIO())
    assert Source.objects.get().folder == str(tmp_path / "other")


def test_a_run_under_way_is_left_alone(folder: Path) -> None:
    call_command("process", str(folder), "--dataset", "cats", stdout=StringIO())
    assert _refused(str(folder), "--dataset", "cats") == "cats is already being processed."


def test_waiting_ends_with_the_run(folder: Path, meanwhile: Callable[..., None]) -> None:
    meanwhile(lambda run: progress.finish(run.pk) and None)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 0


def test_an_error_is_told(folder: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    meanwhile(lambda run: progress.fail(run.pk, "The disk is [full].") and None)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 1
    assert "The disk is [full]." in capsys.readouterr().out


def test_the_reason_that_pages_show_to_few_is_told(
    folder: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    meanwhile(lambda run: progress.fail(run.pk, "The server failed.", note="ValueError: too wide") and None)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 1
    assert "The server failed.\nValueError: too wide" in capsys.readouterr().out


def test_a_run_that_another_has_replaced_is_told_of_by_itself(
    folder: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    meanwhile(lambda run: progress.begin_run(run.dataset, replace=True) and None)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 1
    assert "Replaced by run 2." in capsys.readouterr().out


def test_a_dataset_that_is_deleted_meanwhile_is_said(folder: Path, meanwhile: Callable[..., None]) -> None:
    meanwhile(lambda run: delete_dataset(run.dataset))
    with pytest.raises(CommandError, match="cats was deleted"):
        call_command("process", str(folder), "--dataset", "cats", "--wait", stdout=StringIO())


def test_ctrl_c_ends_the_waiting_and_not_the_run(folder: Path, meanwhile: Callable[..., None]) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    meanwhile(interrupt)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 130
    assert Run.objects.get().state == "pending"


def test_a_message_is_neither_markup_nor_obeyed_by_the_terminal(
    folder: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def report_then_vanish(run: Run) -> None:
        progress.start_stage(run.pk, "index", message="[/x] \x1b]0;owned\x07 :smile:")
        meanwhile(lambda run: delete_dataset(run.dataset))

    meanwhile(report_then_vanish)
    with pytest.raises(CommandError, match="cats was deleted"):
        call_command("process", str(folder), "--dataset", "cats", "--wait", stdout=StringIO())
    shown = capsys.readouterr().out
    assert "[/x]  ]0;owned  :smile:" in shown
    assert "\x1b]" not in shown


def test_an_error_keeps_its_lines_and_nothing_else_that_a_terminal_obeys(
    folder: Path, meanwhile: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    meanwhile(lambda run: progress.fail(run.pk, "[/x]\x1b[2J gone\nof /data") and None)
    assert _exit_status(str(folder), "--dataset", "cats", "--wait") == 1
    assert "[/x] [2J gone\nof /data" in capsys.readouterr().out
