"""The certificate: an in-toto statement about one deletion request, as canonical JSON.

It says what was asked, every attempt that was made, what the audit saw, the verdict, and what none of this proves.
No value in it is personal: the forget set appears only as its salted Merkle root (`commitments`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from hashlib import sha256
from typing import Annotated, Literal
from uuid import UUID

import rfc8785
from pydantic import AfterValidator, AwareDatetime, Field, JsonValue, model_validator

from service.domain.values import Seed, Value

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.example/unlearning-certificate/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
DIGITS = 9      # significant decimal digits: enough to restore every float32
SENTENCE = 500  # characters at most

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=SENTENCE)]
Utc = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
Seconds = Annotated[float, Field(ge=0)]
Interval = tuple[float, float]
VerdictValue = Literal["EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE"]
Recipe = dict[str, JsonValue]
ErasedKind = Literal[
    "weights", "reference", "checkpoint", "shadows", "logits", "embeddings", "dataset-file", "dataset-rows", "index"
]


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
    due_basis: Sentence


class Attempt(Value):
    """One rung of the policy's ladder, whether it was published or not."""

    recipe: Recipe
    outcome: Slug
    verdict: VerdictValue | None = None     # None: it ended before the audit
    seconds: Seconds
    headline: Annotated[dict[Slug, float], Field(default_factory=dict)]
    report_sha256: Digest | None = None     # of the audit's report, where there was one


class Environment(Value):
    """On what the work was done."""

    platform: Sentence
    accelerator: Sentence | None            # None: a CPU did it
    driver: Sentence | None                 # of the accelerator
    threads: Annotated[int, Field(gt=0)]
    deterministic: bool                     # whether torch was held to algorithms that repeat their bits
    image_sha256: Digest | None             # of the container, where the operator says it


class Procedure(Value):
    """What was done, with every attempt; a certificate that hides a failed one cannot be built."""

    method: Recipe
    training_sha256: Digest     # of the recipe that the model was trained with, canonical JSON
    seed: Seed
    code_digest: Digest
    versions: dict[str, Sentence]
    device: Sentence
    environment: Environment
    job_id: UUID
    runs: Annotated[int, Field(gt=0)]       # of the job: a worker that was lost is followed by another
    parent_job_id: UUID | None              # that made the model before; None: it was uploaded
    started_at: Utc
    finished_at: Utc
    seconds: Seconds
    accelerator_seconds: Seconds            # of all attempts and comparisons; 0 on a CPU
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


class Attack(Value):
    """An attack that was tried, and how strong it was; `metrics` say what it saw."""

    rung: Slug
    signals: tuple[Slug, ...] = ()
    n_member: Annotated[int, Field(ge=0)]
    n_nonmember: Annotated[int, Field(ge=0)]
    n_models: Annotated[int, Field(ge=0)]       # that were trained for comparison
    smallest_detectable: float | None           # distance of the AUC from the reference that would have been seen


class Evidence(Value):
    """What the audit saw; the whole report is bound by its digest."""

    attacks: Annotated[tuple[Attack, ...], Field(min_length=1)]
    metrics: tuple[Metric, ...]
    intervals: Sentence                         # how they were made, and at which level
    report_sha256: Digest
    references_k: Annotated[int, Field(ge=0)]
    recipe_audit: RecipeAudit | None = None     # None: nobody has audited the recipe of the published method


class Verdict(Value):
    """The answer of the audit under a policy that was hashed before anything was scored."""

    value: VerdictValue
    reason: Sentence
    policy: Recipe                              # domain.policy.Policy, in full
    policy_sha256: Digest                       # of its canonical JSON
    exact: bool


class Thing(Value):
    """One object that remembers, or did."""

    kind: ErasedKind
    sha256: Digest


class Notified(Value):
    """A recipient of the model before, who was told."""

    recipient: Digest                           # salted
    at: Utc


class FollowUp(Value):
    """What is erased and who is told: digests and times, no names. What happens later are entries of their own."""

    erase_by: Utc | None                        # None: the policy keeps nothing that could be erased
    to_erase: tuple[Thing, ...] = ()
    erased: tuple[Thing, ...] = ()
    notified: tuple[Notified, ...] = ()
    suppressed: bool                            # whether later data sets that hold the rows will be refused


class Predicate(Value):
    """Everything that the signature covers besides the subjects."""

    request: Request
    procedure: Procedure
    evidence: Evidence
    verdict: Verdict
    limits: Annotated[tuple[Sentence, ...], Field(min_length=1)]
    follow_up: FollowUp
    supersedes: UUID | None = None              # an earlier certificate of the request, which no longer counts
    float_digits: Literal[9] = DIGITS


class Subject(Value):
    """A file that the certificate speaks of."""

    name: Slug
    digest: Annotated[dict[Literal["sha256"], Digest], Field(min_length=1)]


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


def digest(value: JsonValue) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return sha256(canonical(value)).hexdigest()


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
