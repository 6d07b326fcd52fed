"""What was audited: the models, and the rows on each side."""

from typing import Literal

from service.domain.report.numbers import Number
from service.domain.values import Value


class Subject(Value):
    """Rung 0, the lineage: which model became which, from what, and by what. Digests are SHA-256 in hex."""

    model_before_sha256: str
    model_after_sha256: str
    recipe_sha256: str | None = None            # of the training recipe and the shape of the rows
    algorithm: str | None = None                # name of the unlearning method; None: unlearned elsewhere
    algorithm_config_sha256: str | None = None
    dataset_sha256: str | None = None
    index_commitment: str | None = None         # salted Merkle root of the rows to forget; no raw ids
    code_sha256: str
    n_train_before: int
    n_train_after: int
    weight_distance: Number | None              # ‖θ_after − θ_before‖₂; None: the parameters differ in shape
    weight_distance_relative: Number | None     # … divided by ‖θ_before‖₂
    path_barrier: Number | None                 # highest mean loss on the straight line less its higher end, nats
    absent_from_training: bool | None           # no forget row is among the rows that stay; None: not known here


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


class PopulationZ(Value):
    """Rows that ratios are taken against; no model was fitted to them."""

    n: int
    disjoint_from_heldout: Literal[True] = True


class References(Value):
    """Models trained without the forget set; with none, an AUC of ½ is assumed."""

    k: int
    kind: Literal["retrained", "assumed_iid"]
    model_sha256: tuple[str, ...] = ()
    leave_one_out: bool = True      # a reference is never compared with itself


class Skipped(Value):
    """A rung of the plan that could not be climbed, and why; it says nothing about deletion."""

    rung: str
    reason: str


class Cost(Value):
    """What the audit took, in counts: the same on every machine."""

    n_models_trained: int
    n_forward_samples: int
    n_training_steps: int = 0
