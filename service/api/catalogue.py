"""The menu, as JSON Schema: what can be asked for is what the service can do."""

from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter

from service.domain.policy import Policy
from service.domain.recipes import OURS, PRESETS, Augmentation, Family, Mask, Method, Rung, Training, ours

router = APIRouter(tags=["catalogue"])
_MENU: dict[str, Any] = {
    "families": Family, "methods": Method, "masks": Mask, "augmentations": Augmentation, "attacks": Rung,
    "training": Training, "policy": Policy,
}


@router.get("/catalogue")
def catalogue() -> dict[str, Any]:
    """The whole menu with parameters, bounds and defaults; named presets; and which formulas are no paper's."""
    menu = {name: TypeAdapter[Any](kind).json_schema() for name, kind in _MENU.items()}
    return menu | {"presets": {name: _preset(name) for name in PRESETS}, "ours": OURS}


def _preset(name: str) -> dict[str, Any]:
    return PRESETS[name].model_dump(mode="json") | {"ours": ours(PRESETS[name].method)}
