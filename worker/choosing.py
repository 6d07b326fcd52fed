"""A recipe from the words of a command line: a method's name, a preset's, or JSON; then single settings."""

import json
from collections.abc import Sequence
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError

from service.domain.recipes import PRESETS, Method
from service.errors import BadInput
from worker.registry import method as methods

METHOD: Final = TypeAdapter[Method](Method)
Settings = dict[str, JsonValue]


def chosen(choice: str, settings: Sequence[str] = ()) -> Method:
    """The recipe that is meant.

    Args:
        choice: `scrub`, `paper:salun` or `{"name": "scrub", "lr": 1e-3}`.
        settings: `lr=1e-3`, `mask.name=prob`, `mask.p=0.4`; a new name begins a new part.
    Raises:
        BadInput: there is no such method or setting, or a value is out of bounds.
    """
    recipe = written(choice)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise BadInput(f"a setting has the form name=value, and {setting!r} has not")
        put(recipe, path.split("."), value_of(value))
    try:
        return METHOD.validate_python(recipe)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, fault['loc'][1:])) or 'it'}: {fault['msg']}" for fault in error.errors())
        raise BadInput(f"this is no recipe: {said}") from error


def written(choice: str) -> Settings:
    """What the choice says by itself."""
    if choice in PRESETS:
        return PRESETS[choice].method.model_dump(mode="json")
    if choice in methods.names():
        return {"name": choice}
    try:
        told = json.loads(choice)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        known = ", ".join((*methods.names(), *PRESETS))
        raise BadInput(f"there is no method or preset {choice!r}; there are: {known}")
    return told


def put(recipe: Settings, path: Sequence[str], value: JsonValue) -> None:
    """Set one value, however deep."""
    key, *deeper = path
    if not deeper:
        recipe[key] = value
        return
    inner = recipe.get(key)
    part = inner if isinstance(inner, dict) and deeper != ["name"] else {}
    put(part, deeper, value)
    recipe[key] = part


def value_of(word: str) -> JsonValue:
    """JSON where it is, else the word."""
    try:
        return json.loads(word)
    except ValueError:
        return word
