"""What an audit found: the report as a frozen value. Shares and AUCs lie in [0, 1]; no time, no id, no row is in it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator

from service.domain.policy import AuditPlan, Signal
from service.domain.values import Value

Number = Annotated[float, AfterValidator(lambda value: round(value, 6) + 0.0)]      # + 0.0: no negative zero
Interval = tuple[Number, Number]
Claim = Literal["exact", "approximate"]
VerdictValue = Literal["EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE"]
Reason = Literal[
    "leak", "within_margin", "no_power", "underpowered", "utility", "invalid", "unmatched", "too_few_holdout"
]


class ForgetSet(Value):
    """What was to be forgotten; labels of very few persons are theirs, so they are withheld."""

    n: int
    n_groups: int
    class_histogram: dict[str, int] | None


class Heldout(Value):
    """Rows no model saw; those of the forget set's classes count, weighted to the same share of each."""

    n: int
    n_matched: int
    n_groups_matched: int
    forget_rows_unmatched: int


class References(Value):
    """Models trained without the forget set; with none, an AUC of ½ is assumed."""

    k: int
    kind: Literal["retrained", "assumed_iid"]


class Result(Value):
    """One signal's attack, forget against holdout; higher means that forget rows look more like members."""

    signal: Signal
    auc_before: Number
    auc_before_ci95: Interval
    auc_after: Number
    auc_after_ci95: Interval
    auc_reference: Number
    auc_reference_ci95: Interval | None
    diff_vs_reference: Number
    diff_ci90: Interval
    diff_ci95: Interval
    p_value: Number
    p_adjusted: Number              # beside the other signals: single-step maxT
    ks_to_reference: Number | None  # of the forget rows' scores, mean over the references
    equivalent: bool                # diff_ci90 lies inside the margin
    flagged: bool                   # p_adjusted below alpha, diff_ci95 without 0, and beyond every flagged reference


class MaxStatistic(Value):
    """Largest |AUC − ½| over the signals, and its exact permutation p-value within classes."""

    value: Number
    p_value: Number


class NullControl(Value):
    """The holdout against itself: an attack that succeeds here is broken."""

    p: Number
    level: Number
    passed: bool


class PositiveControl(Value):
    """The model before: an attack that fails here cannot see these rows at all."""

    signal: Signal
    auc: Number
    ci95: Interval
    needed: Number      # the lower limit must exceed it
    passed: bool


class OracleControl(Value):
    """Each retrained model audited against the others; they should pass."""

    n_passed: int
    n_total: int


class Controls(Value):
    """What says whether the audit itself can be trusted."""

    null: NullControl | None = None
    positive: PositiveControl | None = None
    oracle: OracleControl | None = None


class Accuracy(Value):
    """Share of rows predicted right; the gap is after minus the baseline, on the same rows."""

    n: int
    before: Number
    before_ci95: Interval
    after: Number
    after_ci95: Interval
    reference: Number | None
    reference_ci95: Interval | None
    gap: Number
    gap_ci90: Interval


class Utility(Value):
    """Did the model stay useful? Holdout rows of classes that are still taught."""

    baseline: Literal["reference", "before"]
    margin: Number                  # of the holdout
    retain_margin: Number
    retain: Accuracy
    forget: Accuracy
    holdout: Accuracy | None
    guard: Literal["pass", "fail"]  # no accuracy (retain, holdout) fell by more than its margin
    within_margin: bool             # and neither do the lower ends of the 90 % intervals


class Power(Value):
    """What the audit could have found; persons count once, and unequal weights diminish the holdout (Kish)."""

    alpha: Number
    forget_units: Number
    holdout_units: Number
    min_detectable_auc: Number
    planned_power_at_margin: Number
    forget_units_needed: int | None     # for the planned power; None: no number is enough beside this holdout


@dataclass(frozen=True)
class Found:
    """What the attack measured; nothing where the sets could not be compared."""

    results: tuple[Result, ...] = ()
    controls: Controls = field(default_factory=Controls)
    power: Power | None = None


class Histogram(Value):
    """Counts of the loss; the last bin is open. Holdout rows are weighted so that both sides sum to n."""

    edges: tuple[Number, ...]
    forget_before: tuple[int, ...]
    forget_after: tuple[int, ...]
    holdout_before: tuple[Number, ...]
    holdout_after: tuple[Number, ...]


class Verdict(Value):
    """One of three values, why, and a sentence for people who are no statisticians."""

    value: VerdictValue
    reason_code: Reason
    statement: str
    not_claimed: tuple[str, ...]


class Headline(Value):
    """The numbers of one signal, the loss where it is planned; None where nothing could be compared."""

    signal: Signal
    auc_before: Number | None
    auc_before_ci: Interval | None
    auc_after: Number | None
    auc_after_ci: Interval | None
    auc_reference: Number | None
    auc_reference_ci: Interval | None
    diff: Number | None
    diff_ci90: Interval | None


class AuditReport(Value):
    """The whole report; the same models, rows and plan give the same bytes."""

    schema_version: Literal[1] = 1
    plan: AuditPlan
    plan_sha256: str
    claim: Claim
    forget_set: ForgetSet
    heldout: Heldout
    references: References
    null_basis: Literal["paired_reference", "assumed"]
    results: tuple[Result, ...]
    max_statistic: MaxStatistic | None
    controls: Controls
    utility: Utility
    power: Power | None
    loss_histogram: Histogram | None
    verdict: Verdict

    @property
    def headline(self) -> Headline:
        """What fits on one line."""
        signal = "loss" if "loss" in self.plan.signals else self.plan.signals[0]
        found = next((result for result in self.results if result.signal == signal), None)
        return Headline(
            signal=signal,
            auc_before=found and found.auc_before,
            auc_before_ci=found and found.auc_before_ci95,
            auc_after=found and found.auc_after,
            auc_after_ci=found and found.auc_after_ci95,
            auc_reference=found and found.auc_reference,
            auc_reference_ci=found and found.auc_reference_ci95,
            diff=found and found.diff_vs_reference,
            diff_ci90=found and found.diff_ci90,
        )
