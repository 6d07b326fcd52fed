"""What the further rungs measured: relearning, distances to retrained models, a class's routing, ε from canaries."""

from typing import Literal

from service.domain.report.numbers import Interval, Number
from service.domain.values import Value


class Relearning(Value):
    """Forget accuracy while a model is trained on retain rows alone; a model that remembers regains it sooner."""

    data: Literal["retain"] = "retain"
    steps: tuple[int, ...]                      # at which accuracy was looked at, from 0
    lr: float
    seeds: tuple[int, ...]
    n_references: int                           # retrained models that went the same way
    forget_acc_curve_unlearned: tuple[Number, ...]
    forget_acc_curve_reference: tuple[Number, ...] | None
    auc_curve_unlearned: tuple[Number, ...]     # of the logit-scaled confidence; empty: no class on both sides
    auc_curve_reference: tuple[Number, ...] | None
    regained: Number                            # forget accuracy at the end less at the start
    regained_reference: Number | None
    excess: Number | None                       # regained beyond the references
    excess_ci95: Interval | None                # over persons, seeds averaged; conditional on these models


class RelativeTest(Value):
    """Is the new model nearer to retrained ones than to the original? Mean over forget rows of d(·,orig) − d(·,retr).

    d is |Δφ|, φ the logit-scaled confidence. Positive: nearer to the retrained; but a model that was pushed beyond
    them is nearer to them as well, so its distance to them has to be read beside theirs to each other. The p-value is
    over persons, conditional on these k + 2 models.
    """

    distance: Literal["abs_phi"] = "abs_phi"
    d_to_retrained: Number
    d_to_original: Number
    d_between_retrained: Number                 # mean distance of a retrained model to the others
    statistic: Number
    ci95: Interval | None                       # None: a single person has no spread
    p_value: Number                             # H0: not nearer to the retrained models than to the original
    statistic_references: tuple[Number, ...]    # the same for each retrained model, against the others
    n_models: int
    rmia_a: Number                              # what RMIA took for a: the plan's, or what the references say


class Distances(Value):
    """How far the new model is from retrained ones, mean over them, in the papers' units; shares unless said otherwise.
    """

    tug_of_war: Number                          # Π over forget, retain, test of 1 − |Δaccuracy|; 1 = identical
    tug_of_war_mia: Number                      # forget factor replaced by that of the attack
    average_gap: Number                         # points of percent, over UA, RA, TA, MIA
    r_ua: Number                                # points of percent; above 0: under-forgotten
    fidelity: Number                            # percent of forget rows with the same predicted class
    ks_forget: Number                           # of φ on the forget rows, mean over the references
    between_references: "Distances | None" = None       # mean over pairs of references; of rUA its size


class ClassRemoval(Value):
    """Does the new model send rows of a forgotten class where retrained models send them? MIA-NN, arXiv:2506.20893."""

    basis: Literal["reconstruction"] = "reconstruction"     # the authors' code and settings were not available
    label: int
    neighbour: int
    reading: Literal["separability", "routing"]
    feature: Literal["logits", "probabilities"]
    accuracy: Number
    accuracy_references: tuple[Number, ...]
    gap: Number
    gap_references: Number                      # mean distance of a reference to the mean of the others
    total_variation: Number                     # of the routing histograms, against the references' mean
    total_variation_references: Number
    routing: dict[str, Number]
    routing_reference: dict[str, Number]


class EpsilonBound(Value):
    """A lower bound on ε; never an upper one."""

    value: Number
    method: Literal["clopper_pearson_split", "one_run"]
    delta: Number
    alpha: Number
    ceiling: Number                             # what it would say if every guess were right
    threshold_policy: Literal["split_half", "fixed_guesses"]
    n: int                                      # coins: canaries, or persons × models; of a split: models on a side
    n_guesses: int
    n_correct: int


class Klom(Value):
    """KL divergence of margins over models, in nats: distance of two distributions per row, less its null bias."""

    n_models: tuple[int, int]
    mean: Number
    p95: Number
    null_mean: Number                           # from models dealt anew to both sides
    null_p95: Number
    excess: Number                              # mean − null_mean


class RecipeEvidence(Value):
    """U-LiRA of this recipe on this kind of model, made once for a release and attached to every request of it."""

    report_sha256: str
    n_in_unlearned: int
    n_out: int
    auc: Number
    auc_ci95: Interval
    auc_original: Number
    epsilon: EpsilonBound | None
    code_sha256: str                            # of the code that was audited
    same_code: bool                             # whether it is the code that served this request
