"""The page on which the API can be read, at ``/api/docs``: rendered by the server from OpenAPI, without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import groupby
from typing import Any, Final, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

DESCRIPTION = """\
How far each dataset is, for pipelines and other front ends.

`GET /api/datasets/{dataset_id}/progress` answers with a `DatasetProgress`; with the `ETag` of the last answer as
`If-None-Match` it answers 304 while nothing has changed, so polling is cheap. To be told of changes instead, open a
WebSocket to `/api/datasets/{dataset_id}/progress/ws` and send `{"type": "subscribe", "dataset_id": "…"}`: each
`progress_update` that comes carries the same object as its `payload`. The section `webhooks` of `openapi.json`, and the
objects below, describe what sockets and webhooks send. `version` grows with every change of a dataset;
drop what is older than what you have.

`state` is one of `pending`, `indexing`, `embedding`, `ready` and `error`. Everything else is told beside it.

A refusal is always JSON with a `detail` for people and a `code` for programs.
"""

_REF: Final = "#/components/schemas/"
# The bounds of OpenAPI, and how they read.
_BOUNDS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}

Schema = Mapping[str, Any]


class Type(NamedTuple):
    """The type of a value: words, some of which are the names of objects that the page describes."""

    words: list[tuple[str, bool]]  # each with whether it is such a name
    bounds: str


class Field(NamedTuple):
    """A parameter, or a field of an object. ``place`` is where a parameter stands: path, query or header."""

    name: str
    type: Type
    required: bool
    description: SafeString
    place: str = ""


class Object(NamedTuple):
    name: str
    description: SafeString
    fields: list[Field]
    values: list[str]  # of a word that is one of a few


class Answer(NamedTuple):
    status: str
    meaning: str
    type: Type | None


class Operation(NamedTuple):
    anchor: str
    method: str
    path: str
    summary: str
    description: SafeString
    parameters: list[Field]
    body: Type | None
    answers: list[Answer]
    refusals: list[str]  # the status codes


class Docs(DocsBase):
    """The reference, in the look of the site."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        described = api.get_openapi_schema()
        context = {
            "title": described["info"]["title"],
            "description": text(described["info"]["description"]),
            "groups": groups(described["paths"]),
            "objects": list(objects(described["components"]["schemas"])),
        }
        return render(request, "api/docs.html", context)


def groups(paths: Schema) -> list[tuple[str, list[Operation]]]:
    """Return the operations by subject, in the order of OpenAPI."""
    found = [
        (operation["tags"][0], _operation(method, path, operation))
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    order = list(dict.fromkeys(tag for tag, _ in found))
    found.sort(key=lambda each: order.index(each[0]))
    return [(tag, [operation for _, operation in each]) for tag, each in groupby(found, key=lambda each: each[0])]


def objects(schemas: Schema) -> Iterator[Object]:
    """Yield the objects that operations take and answer with, by name."""
    for name, schema in sorted(schemas.items()):
        required = schema.get("required", ())
        fields = [
            Field(field, type_of(each), field in required, text(each.get("description", "")))
            for field, each in schema.get("properties", {}).items()
        ]
        yield Object(name, text(schema.get("description", "")), fields, schema.get("enum", []))


def type_of(schema: Schema) -> Type:
    """Return the type that a schema of OpenAPI describes."""
    words = _words(schema)
    if "$ref" in schema:
        return Type(words, "")
    one, *others = schema.get("anyOf", [schema])
    # What may be null has its bounds beside it.
    bounded = one if all(other.get("type") == "null" for other in others) else {}
    return Type(words, ", ".join(form.format(bounded[key]) for key, form in _BOUNDS.items() if key in bounded))


def text(words: str) -> SafeString:
    """Return paragraphs of HTML. Of Markdown, descriptions use `code` and empty lines alone."""
    paragraphs = []
    for paragraph in words.strip().split("\n\n"):
        parts = escape(paragraph, quote=False).split("`")
        coded = [f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)]
        paragraphs.append(f"<p>{''.join(coded)}</p>")
    return mark_safe("".join(paragraphs)) if words.strip() else SafeString("")  # noqa: S308 -- escaped above


def _operation(method: str, path: str, operation: Schema) -> Operation:
    parameters = [
        Field(
            one["name"], type_of(one["schema"]), one.get("required", False), text(one.get("description", "")), one["in"]
        )
        for one in operation.get("parameters", [])
    ]
    answers, refusals = [], []
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            refusals.append(str(status))
        else:
            answers.append(Answer(str(status), answer["description"], _content(answer)))
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=text(operation.get("description", "")),
        parameters=parameters,
        body=_content(operation["requestBody"]) if "requestBody" in operation else None,
        answers=answers,
        refusals=sorted(refusals),
    )


def _content(message: Schema) -> Type | None:
    """Return the type of a body in JSON; None where there is none."""
    schema = message.get("content", {}).get("application/json", {}).get("schema")
    return type_of(schema) if schema else None


def _words(schema: Schema) -> list[tuple[str, bool]]:
    if "$ref" in schema:
        return [(schema["$ref"].removeprefix(_REF), True)]
    if "anyOf" in schema:
        words: list[tuple[str, bool]] = []
        for each in schema["anyOf"]:
            words += [*([(" or ", False)] if words else []), *_words(each)]
        return words
    if "allOf" in schema:
        return _words(schema["allOf"][0])
    if schema.get("type") == "array":
        return [("array of ", False), *_words(schema["items"])] if "items" in schema else [("array", False)]
    if "enum" in schema:
        return [(" | ".join(f'"{value}"' for value in schema["enum"]), False)]
    if "const" in schema:
        return [(f'"{schema["const"]}"', False)]
    is_time = schema.get("format") == "date-time"
    return [("time (RFC 3339)" if is_time else str(schema.get("type", "any")), False)]
