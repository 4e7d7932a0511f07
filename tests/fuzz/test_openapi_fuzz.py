"""What the published document allows, and what it does not, asked of a real sidecar."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sidecar.web.openapi import DOCUMENT
from tests.fuzz.conftest import Target

SCHEMA = schemathesis.openapi.from_dict(dict(DOCUMENT))
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = max(10, settings().max_examples // 10)
"""Of each operation; `--hypothesis-profile long` makes them many."""

HANGS_S = 120.0
"""Nothing that is asked of simulated models takes as long."""


def _is_told_as_openai_does(response: Response) -> None:
    """A refusal is an error object, `code` a string or nothing."""
    error = response.json()["error"]
    assert isinstance(error["message"], str)
    assert isinstance(error["code"], str | None)


@pytest.mark.fuzz
@pytest.mark.timeout(7_200)
@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_is_answered_as_promised(case: Case[Any], target: Target) -> None:
    """No 500, no hang, no status and no shape that the document does not tell."""
    response = case.call(base_url=target.at(case.path), timeout=HANGS_S)
    if response.status_code == 405 and response.headers.get("allow"):
        return  # the right answer to another method, which no operation promises
    case.validate_response(response, checks=CHECKS)
    assert response.status_code != 500
    if response.status_code >= 400 and case.path not in {"/readyz", "/admin/config/reload"}:
        _is_told_as_openai_does(response)
    assert target.unforeseen() == []
