"""The interface keeps its own description, whatever is sent to it."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.conftest import Trained
from tests.service.refresh_openapi import COPY

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]
described = schemathesis.openapi.from_path(COPY).exclude(path_regex="/events$")     # a stream has no end to wait for


@described.hook
def map_path_parameters(_: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Every other name is the model's, so that not all answers are 404."""
    if values and len(str(values.get("name", "-"))) % 2 == 0:
        return values | {"name": "m"}
    return values


@pytest.fixture
def start(trained: Trained, tmp_path: Path) -> str:
    return trained.copied_to(tmp_path)


@pytest.mark.slow
@described.parametrize()
@settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described_and_every_refusal_a_problem(base_url: str, case: Any) -> None:
    response = case.call(base_url=base_url)

    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
