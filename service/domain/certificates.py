"""The certificate: an in-toto statement about one deletion request, as canonical JSON.

It says what was asked, every attempt that was made, what the audit saw, the verdict, and what none of this proves.
No value in it is personal: the forget set appears only as its salted Merkle root (`commitments`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Annotated, Literal
from uuid import UUID

import rfc8785
from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, model_validator

from service.domain.values import Seed, Value

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.example/unlearning-certificate/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
DIGITS = 9      # significant decimal digits: enough to restore every float32

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Seconds = Annotated[float, Field(ge=0)]
Interval = tuple[float, float]
VerdictValue = Literal["EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE"]
Recipe = dict[str, JsonValue]


class Request(Value):
    """What was asked."""

    certificate_id: UUID
    request_id: UUID
    target_kind: Literal["samples", "subjects", "classes", "clients"]
    n_samples: Annotated[int, Field(gt=0)]
    forget_root: Digest
    ground: Slug
    received_at: Utc
    due_at: Utc


class Attempt(Value):
    """One rung of the policy's ladder, whether it was published or not."""

    recipe: Recipe
    outcome: Slug
    verdict: VerdictValue | None = None     # None: it ended before the audit
    seconds: Seconds
    headline: Annotated[dict[Slug, float], Field(default_factory=dict)]


class Procedure(Value):
    """What was done, with every attempt; a certificate that hides a failed one cannot be built."""

    method: Recipe
    seed: Seed
    code_digest: Digest
    versions: dict[str, Sentence]
    device: Sentence
    started_at: Utc
    finished_at: Utc
    seconds: Seconds
    attempts: Annotated[tuple[Attempt, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _method_was_attempted(self) -> "Procedure":
        if all(attempt.recipe != self.method for attempt in self.attempts):
            raise ValueError("the method is not among the attempts")
        return self


class Metric(Value):
    """One number before, after, and on a model retrained without the rows; intervals at the report's level."""

    name: Slug
    definition: Sentence
    before: float | None = None
    after: float
    reference: float | None = None
    before_ci: Interval | None = None
    after_ci: Interval | None = None
    reference_ci: Interval | None = None


class RecipeAudit(Value):
    """What U-LiRA found about the published method: made once for a release of the recipe, on shadow models."""

    report_sha256: Digest
    n_models: Annotated[int, Field(gt=0)]
    auc_original: float         # of rows that the shadows were trained on, nothing unlearned
    auc: float                  # of the same rows, unlearned
    same_code: bool             # as the code that served this request


class Evidence(Value):
    """What the audit saw; the whole report is bound by its digest."""

    metrics: tuple[Metric, ...]
    report_sha256: Digest
    references_k: Annotated[int, Field(ge=0)]
    recipe_audit: RecipeAudit | None = None     # None: nobody has audited the recipe of the published method


class Verdict(Value):
    """The answer of the audit under a policy that was hashed before anything was scored."""

    value: VerdictValue
    reason: Sentence
    policy_sha256: Digest
    exact: bool


class FollowUp(Value):
    """What was erased and who was told: digests and references, no names."""

    erased: tuple[Sentence, ...] = ()
    notified: tuple[Sentence, ...] = ()


class Predicate(Value):
    """Everything that the signature covers besides the subjects."""

    request: Request
    procedure: Procedure
    evidence: Evidence
    verdict: Verdict
    limits: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    follow_up: FollowUp = FollowUp()
    float_digits: Literal[9] = DIGITS


class Subject(Value):
    """A file that the certificate speaks of."""

    name: Slug
    digest: dict[Literal["sha256"], Digest]


_LIMITS = (
    "The verdict covers the attacks that were tried and no others.",
    "Copies of the data or the model outside this service are not covered.",
    "It is not shown that the model before was trained on the stated data and no other.",
    "This is evidence about a computation, not legal advice.",
)


def limits(*, exact: bool, ours: Sequence[str] = ()) -> tuple[str, ...]:
    """What a certificate does not prove; `ours` are the parts of the recipe that no paper vouches for."""
    kind = (
        "The model was trained anew without the rows; what the recipe or other rows reveal of them remains."
        if exact
        else "The method is approximate: it gives no guarantee beyond the measured evidence."
    )
    return (kind, *ours, *_LIMITS)


OTHER_MODELS = "The audit of the recipe speaks of shadow models made by it; this model was not among them."
OTHER_CODE = "The recipe was audited with another version of the code than the one that served this request."
PLANTED = "Training rows include planted ones with wrong labels; the digest of the data set is that of its file alone."


def statement(subjects: Mapping[str, str], predicate: Predicate) -> bytes:
    """The canonical bytes that get signed.

    Args:
        subjects: name of each file (`model-before`, `model-after`, `report.json`, …) → its SHA-256 in hex.
    """
    if not subjects:
        raise ValueError("a statement needs a subject")
    named = [Subject(name=name, digest={"sha256": digest}) for name, digest in sorted(subjects.items())]
    body: dict[str, JsonValue] = {
        "_type": STATEMENT_TYPE,
        "subject": [each.model_dump(mode="json") for each in named],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate.model_dump(mode="json"),
    }
    return canonical(body)


def canonical(value: JsonValue) -> bytes:
    """RFC 8785 bytes of floats rounded to DIGITS significant digits; NaN and integers past 2^53 are refused."""
    return rfc8785.dumps(_rounded(value))


def _rounded(value: JsonValue) -> JsonValue:
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case list():
            return [_rounded(each) for each in value]
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case _:
            return value
