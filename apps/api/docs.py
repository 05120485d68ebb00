"""The page on which the API can be read, at ``/api/docs``."""

from __future__ import annotations

from ninja.openapi.docs import Swagger

DESCRIPTION = """\
How far each dataset is, for pipelines and other front ends.

`GET /api/datasets/{dataset_id}/progress` answers with a `DatasetProgress`; with the `ETag` of the last answer as
`If-None-Match` it answers 304 while nothing has changed, so polling is cheap. To be told of changes instead, open a
WebSocket to `/api/datasets/{dataset_id}/progress/ws` and send `{"type": "subscribe", "dataset_id": "…"}`: each
`progress_update` that comes carries the same object as its `payload`. `version` grows with every change of a dataset;
drop what is older than what you have.

`state` is one of `pending`, `indexing`, `embedding`, `ready` and `error`. Everything else is told beside it.

A refusal is always JSON with a `detail` for people and a `code` for programs.
"""


class Docs(Swagger):
    """Swagger UI from our own static files."""

    template = "api/docs.html"
