"""What the attacks measured. Every score is turned so that higher means more likely a member."""

from typing import Literal

from service.domain.policy import ScoredSignal
from service.domain.report.numbers import Interval, Number
from service.domain.values import Value


class TprAt(Value):
    """Share of forget rows above the lowest threshold that no more than `fpr` of the holdout exceeds.

    The interval is Clopper–Pearson's, with as many rows as there are persons.
    """

    fpr: Number
    estimable: bool             # ten held-out units may lie above it, and ties leave it at least five
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
    p_value_raw: Number             # without references, rows permuted in their class; beside them, signs flipped
    p_value_adjusted: Number        # beside the other signals: single-step maxT
    ks_to_reference: Number | None  # of the forget rows' scores, mean over the references
    equivalent: bool                # diff_ci90 lies inside the margin
    flagged: bool                   # p_value_adjusted below alpha, diff_ci95 without 0, beyond every flagged reference


class Stratum(Value):
    """The headline signal on a part of the forget rows: a class, or those that the original knew best.

    It describes and is not judged. Rows chosen by what the original knew are compared with held-out rows chosen so.
    """

    name: str                       # "class:3", "memorised:top_decile"
    n_member: int
    n_nonmember: int
    auc_original: Number
    auc: Number
    auc_ci95: Interval
    auc_reference: Number | None
    forget_accuracy: Number
    heldout_accuracy: Number


Compared = Literal["same_labels", "same_number_of_rows", "all"]


class Person(Value):
    """One person of the forget set, by rank and never by name.

    The p-values: twice the smaller share of held-out persons, and this one, whose mean score is as high, or as low
    (before, after); exact where persons with the same labels are exchangeable. `p_holm` is `p_after`, paid for by the
    number of persons.
    """

    rank: int
    n_rows: int
    compared_with: Compared     # held-out persons; with "all", numbers of rows differ, and p is only a guide
    p_before: Number
    p_after: Number
    p_holm: Number


class Persons(Value):
    """The persons that stand out most in the new model."""

    n_tested: int
    level: Number
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
    """Largest distance of an AUC from ½, or from the references', over the signals; and a p-value paid for by them.

    permutation: exact where forget and held-out rows of a class are exchangeable. sign_flip: the AUCs of two models on
    the same rows, whoever chose these; approximate, conditional on the models, and in standard errors.
    """

    test: Literal["permutation", "sign_flip"]
    value: Number
    p_value: Number


class Histogram(Value):
    """Counts of the loss; the last bin is open. Holdout rows are weighted so that both sides sum to n."""

    edges: tuple[Number, ...]
    forget_before: tuple[int, ...]
    forget_after: tuple[int, ...]
    holdout_before: tuple[Number, ...]
    holdout_after: tuple[Number, ...]
