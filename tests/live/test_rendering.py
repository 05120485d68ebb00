"""From facts to messages: which forms are encoded, and when a page's header comes along."""

from __future__ import annotations

import json

import pytest

from apps.datasets.models import Dataset
from apps.live.rendering import Form, RenderedState, RenderRequest, render
from apps.progress import services

pytestmark = pytest.mark.django_db
HEADER = 'id="progress-header"'


@pytest.fixture
def cats() -> Dataset:
    return Dataset.objects.create(dataset_id="cats", visibility="public")


def request(*forms: Form, new: tuple[Form, ...] = (), sent: RenderedState | None = None) -> RenderRequest:
    return RenderRequest(frozenset(forms), frozenset(new), sent, watchers=7)


def state_of(dataset: Dataset) -> RenderedState:
    rendered = render({dataset.pk: request()})[dataset.pk]
    assert rendered is not None
    return rendered.state


def update(dataset: Dataset, form: Form, sent: RenderedState) -> str:
    """The text for those who know the ``sent`` state."""
    rendered = render({dataset.pk: request(form, sent=sent)})[dataset.pk]
    assert rendered is not None
    return str(rendered.updates[form]["text"])


def first(dataset: Dataset, form: Form) -> str:
    """The text for new watchers."""
    rendered = render({dataset.pk: request(form, new=(form,))})[dataset.pk]
    assert rendered is not None
    assert rendered.updates == {}  # nobody knows an earlier state
    return str(rendered.first_messages[form]["text"])


def test_forms_are_encoded_where_they_are_read(cats: Dataset) -> None:
    sent = state_of(cats)
    services.begin_run(cats)
    rendered = render({cats.pk: request(Form.JSON, Form.ROW, new=(Form.ROW,), sent=sent)})[cats.pk]
    assert rendered is not None
    assert rendered.updates.keys() == {Form.JSON, Form.ROW}
    assert rendered.first_messages.keys() == {Form.ROW}
    message = json.loads(rendered.updates[Form.JSON]["text"])
    assert (message["type"], message["payload"]["run"]) == ("progress_update", 1)
    row = rendered.updates[Form.ROW]["text"]
    assert 'id="row-cats"' in row
    assert row.endswith("<!-- watchers 7 -->")
    assert rendered.first_messages[Form.ROW] is rendered.updates[Form.ROW]  # it is the same, and encoded once


def test_state_that_was_sent_is_encoded_for_new_watchers_alone(cats: Dataset) -> None:
    rendered = render({cats.pk: request(Form.JSON, new=(Form.JSON,), sent=state_of(cats))})[cats.pk]
    assert rendered is not None
    assert rendered.updates == {}
    assert Form.JSON in rendered.first_messages


def test_panel_always_brings_the_header_first(cats: Dataset) -> None:
    before = state_of(cats)
    run = services.begin_run(cats, [services.StagePlan("index", total=10)])
    services.start_stage(run.pk, "index")
    for frame in (first(cats, Form.PANEL), update(cats, Form.PANEL, sent=before)):
        assert 0 <= frame.index(HEADER) < frame.index('id="dataset-live"')
    assert HEADER not in update(cats, Form.ROW, sent=before)
    services.finish(run.pk)
    assert "hx-trigger" not in first(cats, Form.PANEL)  # the header of a finished run does not poll


def test_dataset_that_does_not_exist_is_left_out(cats: Dataset) -> None:
    assert render({cats.pk: request(new=(Form.JSON,)), 999_999: request(new=(Form.JSON,))}).keys() == {cats.pk}
