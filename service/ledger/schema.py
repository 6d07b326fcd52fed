"""What the statements in a ledger look like, field by field. Part of the offline verifier.

A shape says what a value must be: a pattern of text, a range of integers, one of some words, `bool`, `dict` (an object
of any content), an object with its fields (`name?` may be absent), or one of the classes below. Fields that a shape
does not name are read over, as in-toto asks.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from math import inf
from re import DOTALL, fullmatch
from typing import NamedTuple, TypeAlias

from service.ledger.untrusted import RefusedError, at, is_list, is_object

Shape: TypeAlias = "str | range | AbstractSet[str] | type | Mapping[str, Shape] | Number | Maybe | Each | Named"


class Number(NamedTuple):
    """A number, whole or not."""

    low: float = -inf
    high: float = inf


class Maybe(NamedTuple):
    """A value, or null."""

    shape: Shape


class Each(NamedTuple):
    """A list of values of one shape."""

    shape: Shape
    least: int = 0
    most: int = 2**20


class Named(NamedTuple):
    """An object whose names are not told beforehand, but short."""

    shape: Shape


def require(value: object, shape: Shape, path: str) -> None:
    """Refuses a value of another shape, and names the place; nothing of the value is repeated."""
    match shape:
        case Maybe(inner):
            if value is not None:
                require(value, inner, path)
        case Each(inner, least, most):
            for each in _sized(value, least, most, path):
                require(each, inner, f"{path}[]")
        case Named(inner):
            for name, each in _object(value, path).items():
                require(name, SLUG, path)
                require(each, inner, f"{path}.?")
        case Mapping():
            _require_fields(_object(value, path), shape, path)
        case _:
            if not _is(value, shape):
                raise _refusal(path)


def _require_fields(value: Mapping[str, object], fields: Mapping[str, Shape], path: str) -> None:
    for named, shape in fields.items():
        name = named.removesuffix("?")
        if name in value:
            require(value[name], shape, f"{path}.{name}")
        elif name == named:
            raise _refusal(f"{path}.{name}")


def _is(value: object, shape: str | range | AbstractSet[str] | type | Number) -> bool:
    match shape:
        case Number(low, high):
            return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
        case range():
            return type(value) is int and value in shape
        case str():
            return isinstance(value, str) and fullmatch(shape, value, DOTALL) is not None
        case type():
            return isinstance(value, shape)
        case _:
            return isinstance(value, str) and value in shape


def _sized(value: object, least: int, most: int, path: str) -> list[object]:
    if not is_list(value) or not least <= len(value) <= most:
        raise _refusal(path)
    return value


def _object(value: object, path: str) -> dict[str, object]:
    if not is_object(value):
        raise _refusal(path)
    return value


def _refusal(path: str) -> RefusedError:
    return RefusedError(f"{path} is missing or not of the schema")


# ---- values ---------------------------------------------------------------------------------------------------------

DIGEST, SLUG, SENTENCE = "[0-9a-f]{64}", "[A-Za-z0-9_.-]{1,64}", ".{1,500}"
ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
COUNT, SOME = range(2**53), range(1, 2**53)
SECONDS, SHARE = Number(low=0), Number(0, 1)
INTERVAL = Maybe(Each(Number(), 2, 2))
VERDICTS = frozenset({"EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE"})
TARGETS = frozenset({"samples", "subjects", "classes", "clients"})
REASONS = frozenset({
    "evidence-was-wrong", "audited-again", "issued-by-mistake", "key-compromised", "data-was-wrong", "other",
})
ERASABLE = frozenset({
    "weights", "reference", "checkpoint", "shadows", "logits", "embeddings", "dataset-file", "dataset-rows", "index",
})
_THINGS = Each({"kind": ERASABLE, "sha256": DIGEST})
_ATTEMPT: Shape = {
    "recipe": dict, "outcome": SLUG, "verdict": Maybe(VERDICTS), "seconds": SECONDS, "headline": Named(Number()),
    "report_sha256": Maybe(DIGEST),
}

# ---- certificates ---------------------------------------------------------------------------------------------------

_REQUEST: Shape = {
    "certificate_id": ID, "request_id": ID, "target_kind": TARGETS, "n_samples": SOME, "forget_root": DIGEST,
    "ground": SLUG, "received_at": TIME, "due_at": TIME, "due_basis": SENTENCE,
}
_ENVIRONMENT: Shape = {
    "platform": SENTENCE, "accelerator": Maybe(SENTENCE), "driver": Maybe(SENTENCE), "threads": SOME,
    "deterministic": bool, "image_sha256": Maybe(DIGEST),
}
_PROCEDURE: Shape = {
    "method": dict, "training_sha256": DIGEST, "seed": COUNT, "code_digest": DIGEST, "versions": Named(SENTENCE),
    "device": SENTENCE, "environment": _ENVIRONMENT, "job_id": ID, "runs": SOME, "parent_job_id": Maybe(ID),
    "started_at": TIME, "finished_at": TIME, "seconds": SECONDS, "accelerator_seconds": SECONDS,
    "attempts": Each(_ATTEMPT, 1),
}
_METRIC: Shape = {
    "name": SLUG, "definition": SENTENCE, "before": Maybe(Number()), "after": Number(), "reference": Maybe(Number()),
    "before_ci": INTERVAL, "after_ci": INTERVAL, "reference_ci": INTERVAL,
}
_ATTACK: Shape = {
    "rung": SLUG, "signals": Each(SLUG), "n_member": COUNT, "n_nonmember": COUNT, "n_models": COUNT,
    "smallest_detectable": Maybe(Number()),
}
_RECIPE_AUDIT: Shape = {
    "report_sha256": DIGEST, "n_models": SOME, "auc_original": SHARE, "auc": SHARE, "same_code": bool,
}
_EVIDENCE: Shape = {
    "attacks": Each(_ATTACK, 1), "metrics": Each(_METRIC), "intervals": SENTENCE, "report_sha256": DIGEST,
    "references_k": COUNT, "recipe_audit?": Maybe(_RECIPE_AUDIT),
}
_VERDICT: Shape = {
    "value": VERDICTS, "reason": SENTENCE, "policy": dict, "policy_sha256": DIGEST, "exact": bool,
}
_FOLLOW_UP: Shape = {
    "erase_by": Maybe(TIME), "to_erase": _THINGS, "erased": _THINGS,
    "notified": Each({"recipient": DIGEST, "at": TIME}), "suppressed": bool,
}
_CERTIFICATE: Shape = {
    "request": _REQUEST, "procedure": _PROCEDURE, "evidence": _EVIDENCE, "verdict": _VERDICT,
    "limits": Each(SENTENCE, 1), "follow_up": _FOLLOW_UP, "supersedes": Maybe(ID), "float_digits": range(9, 10),
}

# ---- other entries --------------------------------------------------------------------------------------------------

_REQUESTS = Each(ID, 1)
_KEPT: Shape = {"kind": ERASABLE, "count": SOME, "why": SENTENCE}
_ATTEMPTED: Shape = {
    "request_ids": _REQUESTS, "job_id": ID, "run": SOME, "rung": SOME, "attempt": _ATTEMPT,
    "policy_sha256": DIGEST, "at": TIME,
}
_FAILED: Shape = {"request_ids": _REQUESTS, "job_id": ID, "runs": COUNT, "reason": SENTENCE, "at": TIME}
_ERASED: Shape = {
    "request_ids": _REQUESTS, "job_id": ID, "erased": _THINGS, "kept": Each(_KEPT), "rows": COUNT,
    "suppressed": COUNT, "limits": Each(SENTENCE), "at": TIME,
}
_CORRECTED: Shape = {
    "request_id": ID, "action": frozenset({"revokes", "supersedes"}), "certificate_id": ID, "leaf_hash": DIGEST,
    "by": Maybe(ID), "reason": REASONS, "at": TIME,
}

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_BASE = "https://expunge.example"
CERTIFICATE = f"{_BASE}/unlearning-certificate/v1"
ATTEMPT, FAILURE = f"{_BASE}/unlearning-attempt/v1", f"{_BASE}/unlearning-failure/v1"
ERASURE, CORRECTION, SALT = f"{_BASE}/erasure/v1", f"{_BASE}/correction/v1", f"{_BASE}/salt-forgotten/v1"
PREDICATES: Mapping[str, Shape] = {
    CERTIFICATE: _CERTIFICATE, ATTEMPT: _ATTEMPTED, FAILURE: _FAILED, ERASURE: _ERASED, CORRECTION: _CORRECTED,
    SALT: {"request_id": ID, "at": TIME},
}
_STATEMENT: Shape = {
    "_type": frozenset({STATEMENT_TYPE}), "subject": Each({"name": SLUG, "digest": {"sha256": DIGEST}}, 1),
    "predicateType": PREDICATES.keys(),
}


def require_statement(statement: object) -> str:
    """Its predicate type, when the whole is of the schema."""
    require(statement, _STATEMENT, "statement")
    kind = str(at(statement, "predicateType"))
    require(at(statement, "predicate"), PREDICATES[kind], "predicate")
    return kind
