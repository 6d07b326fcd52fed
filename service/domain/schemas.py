"""JSON Schemas (draft 2020-12) of all that is signed: the certificate, and every other entry of the ledger."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from service.domain.certificates import PREDICATE_TYPE, STATEMENT_TYPE, Predicate, Subject
from service.domain.entries import ENTRIES
from service.domain.values import Value

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES: Mapping[str, type[Value]] = {PREDICATE_TYPE: Predicate} | {entry.type: entry for entry in ENTRIES}
_SUBJECTS = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Subject"}}


def name_of(predicate_type: str) -> str:
    """`unlearning-certificate-v1` of `https://…/unlearning-certificate/v1`."""
    return "-".join(predicate_type.rsplit("/", 2)[1:])


def schema(predicate_type: str) -> dict[str, Any]:
    """The schema of a whole statement of this type, as it is signed; its `$id` is the type."""
    predicate = _TYPES[predicate_type].model_json_schema(mode="serialization")
    parts = predicate.pop("$defs", {}) | {Subject.__name__: Subject.model_json_schema(mode="serialization")}
    fields = {
        "_type": {"const": STATEMENT_TYPE}, "subject": _SUBJECTS, "predicateType": {"const": predicate_type},
        "predicate": predicate,
    }
    return {
        "$schema": _DIALECT, "$id": predicate_type, "title": predicate["title"], "type": "object",
        "properties": fields, "required": list(fields), "additionalProperties": False, "$defs": parts,
    }


SCHEMAS: Mapping[str, str] = MappingProxyType({name_of(each): each for each in _TYPES})     # name → predicate type
