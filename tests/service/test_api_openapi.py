"""The interface is what its committed description says, and the other way round."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.service.refresh_openapi import COPY, document

STABLE = {
    "/datasets", "/datasets/{name}", "/models", "/models/{name}", "/models/{name}/versions",
    "/models/{name}/versions/{number}/weights", "/models/{name}/policy", "/deletion-requests",
    "/deletion-requests/{request_id}", "/deletion-requests/{request_id}/events",
    "/deletion-requests/{request_id}/cancel", "/deletion-requests/{request_id}/audit-report",
    "/deletion-requests/{request_id}/certificate", "/deletion-requests/{request_id}/bundle", "/jobs/{job_id}",
    "/audits", "/audits/{audit_id}", "/audits/{audit_id}/report", "/audits/{audit_id}/cancel",
    "/catalogue", "/ledger/checkpoint", "/ledger/entries/{index}", "/ledger/proofs/inclusion",
    "/ledger/proofs/consistency", "/ledger/keys", "/livez", "/readyz",
}


def nodes(value: Any) -> list[dict[str, Any]]:
    """Every object inside a document."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [node for each in inside for node in nodes(each)]


def at(root: Any, pointer: str) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root = root[part.replace("~1", "/").replace("~0", "~")]
    return root


def test_the_committed_copy_is_what_the_app_says() -> None:
    copy = COPY.read_text(encoding="utf-8")

    assert copy == document(), "refresh it with: python -m tests.service.refresh_openapi"


def test_no_stable_address_is_missing() -> None:
    assert json.loads(document())["paths"].keys() >= STABLE


@pytest.mark.parametrize("path", ["/deletion-requests/{request_id}/audit-report", "/audits/{audit_id}/report"])
def test_the_schema_of_the_report_is_published(path: str) -> None:
    content = json.loads(document())["paths"][path]["get"]["responses"]["200"]["content"]

    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/AuditReport"}
    assert {"text/html", "application/pdf"} < content.keys()


def test_every_reference_leads_somewhere() -> None:
    root = json.loads(document())

    for node in nodes(root):
        if isinstance(ref := node.get("$ref"), str):
            assert at(root, ref) is not None


def test_every_schema_is_json_schema() -> None:
    for schema in json.loads(document())["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_says_what_it_does_and_how_it_refuses() -> None:
    operations = [each for path in json.loads(document())["paths"].values() for each in path.values()]

    assert all(each["description"].strip() and each["tags"] for each in operations)
    refusals = [
        set(answer["content"]) for each in operations for status, answer in each["responses"].items() if status >= "4"
    ]
    assert refusals
    assert all(media == {"application/problem+json"} for media in refusals)
