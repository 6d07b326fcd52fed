"""What the attacks measured. Every score is turned so that higher means more likely a member."""

from typing import Literal

from service.domain.policy import ScoredSignal
from service.domain.report.numbers import Interval, Number
from service.domain.values import Value


class TprAt(Value):
    """Share of forget rows above the threshold that this share of the holdout exceeds; Clopper–Pearson interval."""

    fpr: Number
    estimable: bool             # at least ten held-out units lie above the threshold
    n_false_positives: int
    value: Number | None = None
    ci95: Interval | None = None


class Result(Value):
    """One signal's attack, forget against holdout, on the new model, the original and the references."""

    rung: Literal["population", "reference"]
    stratum: str = "all"
    attack: Literal["threshold"] = "threshold"
    signal: ScoredSignal
    direction_convention: Literal["higher_is_member"] = "higher_is_member"
    n_member: int
    n_nonmember: int
    n_models: int
    auc: Number
    auc_ci95: Interval
    auc_reference: Number
    auc_reference_ci95: Interval | None
    auc_original: Number
    auc_original_ci95: Interval
    diff_vs_reference: Number
    diff_ci90: Interval
    diff_ci95: Interval
    tost_p: Number                  # the larger p of the two one-sided tests
    balanced_accuracy: Number | None = None     # at a threshold found on the other half of the units
    tpr_at: tuple[TprAt, ...] = ()
    p_value_raw: Number
    p_value_adjusted: Number        # beside the other signals: single-step maxT
    ks_to_reference: Number | None  # of the forget rows' scores, mean over the references
    equivalent: bool                # diff_ci90 lies inside the margin
    flagged: bool                   # p_value_adjusted below alpha, diff_ci95 without 0, beyond every flagged reference


class Stratum(Value):
    """The headline signal on a part of the forget rows: a class, or those that the original knew best."""

    name: str                       # "class:3", "memorised:top_decile"
    n_member: int
    n_nonmember: int
    auc_original: Number
    auc: Number
    auc_ci95: Interval
    auc_reference: Number | None
    forget_accuracy: Number
    heldout_accuracy: Number


class Person(Value):
    """One person of the forget set, by rank and never by name.

    The p-values are exact where persons are exchangeable: the share of held-out persons, and this one, whose mean
    score is as high (before, after). `p_holm` is paid for by the number of persons tested.
    """

    rank: int
    n_rows: int
    p_before: Number
    p_after: Number
    p_holm: Number


class Persons(Value):
    """The persons that stand out most in the new model."""

    n_tested: int
    n_significant_holm: int
    smallest_possible_p: Number
    shown: tuple[Person, ...]


class Roc(Value):
    """TPR over FPR on a grid of logarithmic steps; the band is pointwise, from the bootstrap."""

    signal: ScoredSignal
    fpr: tuple[Number, ...]
    tpr_before: tuple[Number, ...]
    tpr_after: tuple[Number, ...]
    band_after: tuple[Interval, ...]
    tpr_reference: tuple[Number, ...] | None


class Convention(Value):
    """An attack as others report it, under its own name and sign, so that numbers can be laid side by side."""

    name: str
    source: str                     # paper, and where the convention differs from ours
    reads: str                      # what the number is a share of, and what is aimed at
    original: Number
    value: Number
    reference: Number | None        # mean over the retrained models: what the number should be


class MaxStatistic(Value):
    """Largest |AUC − ½| over the signals, and its exact permutation p-value within classes."""

    value: Number
    p_value: Number


class Histogram(Value):
    """Counts of the loss; the last bin is open. Holdout rows are weighted so that both sides sum to n."""

    edges: tuple[Number, ...]
    forget_before: tuple[int, ...]
    forget_after: tuple[int, ...]
    holdout_before: tuple[Number, ...]
    holdout_after: tuple[Number, ...]
