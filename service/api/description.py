"""The interface's OpenAPI document: what FastAPI derives, with errors as they are sent and every schema by its name."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from service.api.models import NewModel
from service.api.problems import MEDIA_TYPE, Problem

REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "What is wrong, and what to do about it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model=Problem.__name__)}}},
}
REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": _PROBLEM, "503": _PROBLEM}


def install(app: FastAPI) -> None:
    """Complete the document with the schemas that routes name and FastAPI does not see."""
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        schemas = derive()["components"]["schemas"]
        for kind in (NewModel, Problem):
            for name, schema in _named(kind).items():
                schemas.setdefault(name, schema)
        return derive()

    app.openapi = openapi


def _named(kind: type[BaseModel]) -> dict[str, Any]:
    """A class and all that it consists of, each a schema of its own."""
    whole = kind.model_json_schema(ref_template=REFERENCE)
    return whole.pop("$defs", {}) | {kind.__name__: whole}
