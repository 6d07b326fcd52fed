"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response

from service.api.deps import Tx
from service.ledger import gauges

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(tx: Tx) -> Response:
    """How the ledger is: what waits, what is signed, what is anchored, and what the last monitor found."""
    return Response(gauges.write(gauges.read(tx)), media_type=gauges.CONTENT_TYPE)
