"""An audit report as a frozen value: same models, rows, plan and code, same bytes. No time, no id, no row is in it."""

from typing import Literal

from service.domain.policy import AuditPlan, ScoredSignal
from service.domain.report.controls import Controls, Power, Utility
from service.domain.report.evidence import (
    ClassRemoval,
    Distances,
    EpsilonBound,
    RecipeEvidence,
    RelativeTest,
    Relearning,
)
from service.domain.report.numbers import Claim, Interval, Number
from service.domain.report.results import (
    Convention,
    Histogram,
    MaxStatistic,
    Persons,
    Result,
    Roc,
    Stratum,
)
from service.domain.report.sets import Cost, ForgetSet, Heldout, PopulationZ, References, Skipped, Subject
from service.domain.values import Value

VerdictValue = Literal["EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE"]
Reason = Literal[
    "leak", "within_margin", "no_power", "underpowered", "utility", "invalid", "unmatched", "too_few_holdout"
]


class Found(Value):
    """What attacks measured; nothing where the sets could not be compared."""

    results: tuple[Result, ...] = ()
    max_statistic: MaxStatistic | None = None
    controls: Controls = Controls()
    power: Power | None = None
    strata: tuple[Stratum, ...] = ()
    persons: Persons | None = None
    roc: Roc | None = None
    loss_histogram: Histogram | None = None
    conventions: tuple[Convention, ...] = ()
    relearning: tuple[Relearning, ...] = ()
    relative_test: RelativeTest | None = None
    distances: Distances | None = None
    class_removal: tuple[ClassRemoval, ...] = ()
    epsilon: EpsilonBound | None = None
    skipped: tuple[Skipped, ...] = ()

    def parts(self) -> dict[str, object]:
        """What is there, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set if name in Found.model_fields}

    def __or__(self, other: "Found") -> "Found":
        """Both: lists are joined; of all else there is one."""
        parts = self.parts()
        for name, value in other.parts().items():
            mine = parts.get(name)
            parts[name] = (*mine, *value) if isinstance(mine, tuple) and isinstance(value, tuple) else value
        return Found.model_validate(parts)


class NextRung(Value):
    """What would decide an audit that could not, and what that takes."""

    name: str
    decides: str
    trainings: int          # models to be trained anew
    forget_units: int | None = None     # or: how many persons or rows would have to be forgotten together


class Verdict(Value):
    """One of three values, why, and a sentence for people who are no statisticians."""

    value: VerdictValue
    reason_code: Reason
    statement: str
    not_claimed: tuple[str, ...]
    next_rung: NextRung | None = None


class Headline(Value):
    """The numbers of one signal, the loss where it is planned; None where nothing could be compared."""

    signal: ScoredSignal
    auc_before: Number | None
    auc_before_ci: Interval | None
    auc_after: Number | None
    auc_after_ci: Interval | None
    auc_reference: Number | None
    auc_reference_ci: Interval | None
    diff: Number | None
    diff_ci90: Interval | None


class AuditReport(Found):
    """The whole report; what is not in the plan's rungs is absent."""

    schema_version: Literal[2] = 2
    plan: AuditPlan
    plan_sha256: str
    claim: Claim
    subject: Subject
    forget_set: ForgetSet
    heldout: Heldout
    population_z: PopulationZ | None = None
    references: References
    null_basis: Literal["paired_reference", "assumed"]
    utility: Utility
    recipe_evidence: RecipeEvidence | None = None
    cost: Cost
    environment: dict[str, str]
    verdict: Verdict

    @property
    def headline(self) -> Headline:
        """What fits on one line."""
        signal = "loss" if "loss" in self.plan.signals else self.plan.signals[0]
        found = next((result for result in self.results if result.signal == signal), None)
        return Headline(
            signal=signal,
            auc_before=found and found.auc_original,
            auc_before_ci=found and found.auc_original_ci95,
            auc_after=found and found.auc,
            auc_after_ci=found and found.auc_ci95,
            auc_reference=found and found.auc_reference,
            auc_reference_ci=found and found.auc_reference_ci95,
            diff=found and found.diff_vs_reference,
            diff_ci90=found and found.diff_ci90,
        )
