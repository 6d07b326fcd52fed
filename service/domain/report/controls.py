"""What says whether the audit itself can be trusted, and what it could have seen."""

from typing import Literal

from service.domain.policy import ScoredSignal
from service.domain.report.numbers import Interval, Number
from service.domain.values import Value


class NullControl(Value):
    """The holdout against itself: an attack that succeeds here is broken."""

    p: Number
    level: Number
    passed: bool


class PositiveControl(Value):
    """The model before: an attack that fails here cannot see these rows at all."""

    signal: ScoredSignal
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


class Power(Value):
    """What the audit could have found; persons count once, and unequal weights diminish the holdout (Kish)."""

    alpha: Number
    forget_units: Number
    holdout_units: Number
    min_detectable_auc: Number
    planned_power_at_margin: Number
    forget_units_needed: int | None     # for the planned power; None: no number is enough beside this holdout
    curve: tuple[tuple[Number, Number], ...] = ()       # (AUC, chance that a leak of this size raises the alarm)


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
