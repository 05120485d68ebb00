"""What OpenAPI says of an object, held against one that was sent."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs

from apps.api.urls import api


@cache
def _schemas() -> dict[str, Any]:
    """The schemas of the API, with no field beside those that they name."""
    schemas: dict[str, Any] = api.get_openapi_schema()["components"]["schemas"]
    for schema in schemas.values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return schemas


def check(name: str, value: object) -> None:
    """Raise an error unless ``value`` is as the schema ``name`` says, without any other field."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": _schemas()}}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)
