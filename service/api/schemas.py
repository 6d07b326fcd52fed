"""What is signed, as JSON Schema: the same documents that lie in docs/schemas."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.domain.schemas import SCHEMAS, schema
from service.errors import NotFound

router = APIRouter(prefix="/schemas", tags=["ledger"])
MEDIA_TYPE = "application/schema+json"


class SchemaLink(BaseModel):
    """A kind of statement, the URI in its predicateType, and where its schema is."""

    name: str
    predicate_type: str
    link: str


@router.get("")
def list_schemas() -> list[SchemaLink]:
    """Every kind of statement that the ledger may hold."""
    return [
        SchemaLink(name=name, predicate_type=kind, link=f"{router.prefix}/{name}") for name, kind in SCHEMAS.items()
    ]


@router.get("/{name}", response_class=Response, responses={200: {"content": {MEDIA_TYPE: {}}}})
def get_schema(name: Annotated[str, Path(max_length=64)]) -> Response:
    """One schema, draft 2020-12."""
    if name not in SCHEMAS:
        raise NotFound("There is no schema of this name")
    return JSONResponse(schema(SCHEMAS[name]), media_type=MEDIA_TYPE)
