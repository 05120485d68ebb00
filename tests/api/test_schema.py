"""Whatever is made up from the OpenAPI document is answered as it says, and never with a 5xx. Against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from apps.api.urls import api
from apps.datasets.models import Dataset
from apps.datasets.services import issue_token
from apps.progress.reports import Report, accept_reports
from tests.processes import Server, web_server

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance, negative_data_rejection, unsupported_method,
]  # fmt: skip

REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "422"]
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
DESCRIBED = schemathesis.openapi.from_dict(dict(api.get_openapi_schema()), config=CONFIG)


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("schema") / "log"
    with web_server(log, env={"TOKEN_REQUESTS_A_SECOND": "0"}) as server:
        yield server


@pytest.fixture
def secret(transactional_db: None) -> str:
    """A token; and a dataset that ids made up from the pattern are likely to hit."""
    for dataset_id in ("0", "A", "a"):
        accept_reports([(Dataset.objects.create(dataset_id=dataset_id).pk, Report(current=1, total=9))])
    return issue_token("schema")[1]


@DESCRIBED.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: Case[Any], server: Server, secret: str) -> None:
    checks = list(CHECKS)
    if case.operation.definition.raw["operationId"] == "report_many":
        checks.remove(negative_data_rejection)  # an update that is refused has a result of its own, in a 200
    case.call_and_validate(server.url, headers={"Authorization": f"Bearer {secret}"}, checks=checks)
