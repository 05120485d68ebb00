"""The JSON protocol: text in, a command or an error out."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.live.protocol import ProtocolError, Subscribe, Unsubscribe, error_text, parse, unknown_datasets

TYPES = 'The "type" of a message is "subscribe" or "unsubscribe".'
NAME_DATASETS = 'Name datasets as "dataset_id": "…" or as "dataset_ids": ["…", "…"].'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)
# Messages that are nearly right: the names of the protocol with any values.
nearly_commands = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["subscribe", "unsubscribe", "Subscribe"]) | json_values,
        "dataset_id": st.just("cats") | json_values,
        "dataset_ids": st.lists(st.text()) | json_values,
    },
)


@pytest.mark.parametrize(("kind", "command"), [("subscribe", Subscribe), ("unsubscribe", Unsubscribe)])
def test_command_names_its_datasets(kind: str, command: type[Subscribe | Unsubscribe]) -> None:
    assert parse(json.dumps({"type": kind, "dataset_id": "cats"})) == command(("cats",))
    assert parse(json.dumps({"type": kind, "dataset_ids": ["cats", "dogs"]})) == command(("cats", "dogs"))
    assert parse(json.dumps({"type": kind, "dataset_ids": []})) == command(())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Send JSON as text frames."),
        ("", "This is not JSON."),
        ("{", "This is not JSON."),
        ("[" * 100_000, "This is not JSON."),
        ("1" * 5000, "This is not JSON."),
        ("[]", TYPES),
        ('{"type": ["subscribe"]}', TYPES),
        ('{"type": "subscribe"}', NAME_DATASETS),
        ('{"type": "subscribe", "dataset_ids": "cats"}', NAME_DATASETS),
        ('{"type": "subscribe", "dataset_id": "cats", "dataset_ids": [1]}', NAME_DATASETS),
    ],
)
def test_what_is_no_command_is_an_error_in_words(text: str | None, message: str) -> None:
    with pytest.raises(ProtocolError) as error:
        parse(text)
    assert str(error.value) == message


def test_socket_of_one_dataset_takes_that_one_alone() -> None:
    assert parse('{"type": "subscribe", "dataset_id": "cats"}', only="cats") == Subscribe(("cats",))
    assert parse('{"type": "unsubscribe", "dataset_id": "cats"}', only="cats") == Unsubscribe(("cats",))
    for named in ({}, {"dataset_id": "dogs"}, {"dataset_id": ["cats"]}, {"dataset_ids": ["cats"]}):
        with pytest.raises(ProtocolError) as error:
            parse(json.dumps({"type": "subscribe", **named}), only="cats")
        assert str(error.value) == 'The "dataset_id" of this socket is "cats".'


@given(text=st.text() | json_values.map(json.dumps) | nearly_commands.map(json.dumps), only=st.none() | st.just("cats"))
@example(text='{"type": "subscribe", "dataset_id": "\\ud800"}', only=None)
def test_any_text_is_a_command_or_an_error(text: str, only: str | None) -> None:
    try:
        command = parse(text, only=only)
    except ProtocolError:
        return
    message = json.loads(text)
    assert isinstance(command, Subscribe if message["type"] == "subscribe" else Unsubscribe)
    assert all(isinstance(dataset_id, str) for dataset_id in command.dataset_ids)
    if only is not None:
        assert command.dataset_ids == (only,)


@given(st.text())
def test_error_is_one_json_object(message: str) -> None:
    assert json.loads(error_text(message)) == {"type": "error", "message": message}


def test_ten_unknown_datasets_are_named_and_the_others_counted() -> None:
    assert unknown_datasets(["cats"]) == "There is no dataset cats."
    assert unknown_datasets(["cats"], any_more=True) == "There is no dataset cats any more."
    ten = [f"d{number}" for number in range(10)]
    assert unknown_datasets(ten) == f"There is no dataset {', '.join(ten)}."
    assert unknown_datasets([*ten, "x", "y"]) == f"There is no dataset {', '.join(ten)} and 2 more."
