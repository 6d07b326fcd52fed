"""A person's receipt: shows with the bundle that one sample was in a request, and says nothing of any other."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from service.api.deps import Ctx, Tx
from service.db import deletion_requests, ledger, salts
from service.domain.requests import Identifier
from service.errors import Forgotten, NotFound, NotYet
from service.ledger import receipts

router = APIRouter(prefix="/deletion-requests", tags=["evidence"])
Hex = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Receipt(BaseModel):
    """For the person concerned alone: it names their sample."""

    schema_: Annotated[str, Field(alias="schema")]
    request_id: UUID
    certificate_id: UUID
    sample: str
    secret: Annotated[Hex, Field(description="Shows that the reference is that of the sample id.")]
    opening: Annotated[Hex, Field(description="Shows that the commitment is that of the reference.")]
    index: Annotated[int, Field(description="Of the commitment among all of the request, in order.")]
    size: Annotated[int, Field(description="Samples of the request.")]
    path: Annotated[list[Hex], Field(description="RFC 6962 inclusion proof, from the leaf upwards.")]
    forget_root: Annotated[Hex, Field(description="As the certificate names it.")]
    how: Annotated[str, Field(description="How to check it.")]


@router.get("/{request_id}/receipt")
def receipt(
    request_id: UUID, sample: Annotated[Identifier, Query(description="A sample id.")], ctx: Ctx, tx: Tx,
    response: Response,
) -> Receipt:
    """Proof for one person that their sample was forgotten; `expunge verify-receipt` checks it beside the bundle."""
    request = deletion_requests.get(tx, request_id)
    if request.ended_at is None:
        raise NotYet("The request is not certified yet")
    certificate, salt = ledger.certificate_of(tx, request.id), deletion_requests.salt(tx, request.id)
    if salt is None:
        raise Forgotten("The salt of the request was deleted, and with it the link to any sample")
    response.headers["Cache-Control"] = "no-store"
    try:
        made = receipts.make(
            ctx.index_key, salt, salts.commitments_of(tx, request.id), sample=sample, root=request.forget_root,
            request_id=str(request.id), certificate_id=str(certificate.id),
        )
    except ValueError:
        raise NotFound("The request has no such sample") from None
    return Receipt.model_validate(made)
