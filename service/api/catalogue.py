"""The menu, as JSON Schema: what can be asked for is what the service can do."""

from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter

from service.domain.policy import Policy
from service.domain.recipes import Family, Mask, Method, Training

router = APIRouter(tags=["catalogue"])
_MENU: dict[str, Any] = {"families": Family, "methods": Method, "masks": Mask, "training": Training, "policy": Policy}


@router.get("/catalogue")
def catalogue() -> dict[str, Any]:
    """Families, methods, masks, training and policy with their parameters, bounds and defaults."""
    return {name: TypeAdapter[Any](kind).json_schema() for name, kind in _MENU.items()}
