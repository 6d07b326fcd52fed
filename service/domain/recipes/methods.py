"""Unlearning methods. `serves` names the kinds of targets that a method can forget; defaults are the papers' own."""

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from service.domain.recipes.augmentations import Augmentation, NoAugmentation
from service.domain.recipes.guards import AscentGuard
from service.domain.recipes.masks import Mask, NoMask, paired
from service.domain.values import Count, Rate, Share, Value

M = TypeVar("M", bound=Value)
ROWS = frozenset({"samples", "subjects"})
ALL = ROWS | {"classes"}
Passes = Annotated[float, Field(gt=0, le=1000)]
Factor = Annotated[float, Field(ge=0, le=1000)]
Ascent = Literal["none", "bounded", "unbounded"]    # whether a loss on forget rows is raised, and if so, up to a target
Order = Literal["paired", "sequential"]     # one forget and one retain batch per step, or one pass after the other


class Descent(Value):
    """What every method takes that follows gradients."""

    ascent: ClassVar[Ascent] = "none"

    batch: Count = 256
    bn: Literal["frozen", "train"] = "frozen"       # whether running statistics move
    augment_retain: Augmentation = NoAugmentation()
    augment_forget: Augmentation = NoAugmentation()
    guard: AscentGuard | None = None

    @property
    def of_forget(self) -> int:
        """Rows of a forget batch."""
        return self.batch


class NablaTau(Descent):
    """Adaptive ascent towards the losses of unseen rows, with retain descent (Trippa et al. 2024)."""

    serves: ClassVar[frozenset[str]] = ROWS     # its target, unseen rows of all classes, still knows a removed class
    ascent: ClassVar[Ascent] = "bounded"

    name: Literal["nabla_tau"] = "nabla_tau"
    target: Literal["mean", "class", "quantile"] = "quantile"   # mean: as published; the others: ours, see its file
    form: Literal["squared", "unsquared", "two_sided"] = "squared"  # of the mean; two_sided: the authors' text recipe
    alpha0: Share | None = None     # None: 5/3·ρ for the mean (the paper's rule), .4 for the quantiles
    passes: Passes = 3.0            # over the retain rows
    batch: Count = 128              # of retain rows
    forget_batch: Count | None = None       # None: half of the other
    lr: Rate | None = None          # None: 1e-3 for the mean (the paper's), 2e-3 for the quantiles
    schedule: Literal["linear", "constant"] = "linear"      # of the rate: 1 → .1, or as it is
    refresh: Count = 5              # forget-epochs between two looks at the validation losses
    mask: Mask = NoMask()

    @property
    def of_forget(self) -> int:
        """Rows of a forget batch."""
        return self.forget_batch or max(1, self.batch // 2)


class FineTune(Descent):
    """Go on training on the retain rows, and hope."""

    serves: ClassVar[frozenset[str]] = ROWS

    name: Literal["fine_tune"] = "fine_tune"
    passes: Passes = 6.0
    lr: Rate = 1e-3


class NegGrad(Descent):
    """Plain ascent on the forget rows; without bound, so mind the guard."""

    serves: ClassVar[frozenset[str]] = ALL
    ascent: ClassVar[Ascent] = "unbounded"

    name: Literal["neg_grad"] = "neg_grad"
    epochs: Count = 5
    lr: Rate = 1e-4


class NegGradPlus(Descent):
    """Descend on the retain rows while ascending on the forget rows (Kurmanji et al. 2023)."""

    serves: ClassVar[frozenset[str]] = ALL
    ascent: ClassVar[Ascent] = "unbounded"

    name: Literal["neg_grad_plus"] = "neg_grad_plus"
    beta: Share = 0.95              # weight of the retain loss
    epochs: Count = 30              # over the forget rows
    lr: Rate = 1e-4
    mask: Mask = NoMask()


class RandomLabel(Descent):
    """Learn random labels for the forget rows, and the retain rows as they are (Golatkar et al. 2020)."""

    serves: ClassVar[frozenset[str]] = ALL

    name: Literal["random_label"] = "random_label"
    labels: Literal["wrong", "uniform"] = "wrong"       # never the true one and drawn anew each batch, or any
    order: Order = "paired"
    beta: Share = 0.95              # weight of the retain loss where batches are paired
    epochs: Count = 30              # over the forget rows
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: Rate = 1e-4
    mask: Mask = NoMask()

    @model_validator(mode="after")
    def _two_gradients_for_a_paired_mask(self) -> "RandomLabel":
        return _paired(self, self.order, self.mask)


class Scrub(Descent):
    """Move away from the original on the forget rows, stay with it on the retain rows (Kurmanji et al. 2023)."""

    serves: ClassVar[frozenset[str]] = ALL
    ascent: ClassVar[Ascent] = "unbounded"

    name: Literal["scrub"] = "scrub"
    order: Order = "sequential"
    epochs: Count = 6
    max_epochs: Count = 3           # of them begin with a pass of ascent, where passes are sequential
    alpha: Factor = 0.5             # weight of the divergence on the retain rows
    gamma: Factor = 1.0             # weight of the loss on the retain rows
    beta: Share = 0.95              # weight of the retain part where batches are paired
    temperature: Annotated[float, Field(gt=0, le=100)] = 4.0
    lr: Rate = 5e-4
    mask: Mask = NoMask()

    @model_validator(mode="after")
    def _two_gradients_for_a_paired_mask(self) -> "Scrub":
        return _paired(self, self.order, self.mask)


class BadTeacher(Descent):
    """Learn the forget rows from a teacher that knows nothing, the rest from the original (Chundawat et al. 2023)."""

    serves: ClassVar[frozenset[str]] = ALL

    name: Literal["bad_teacher"] = "bad_teacher"
    epochs: Count = 1
    retain_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0
    lr: Rate = 1e-4
    mask: Mask = NoMask()


class Ssd(Value):
    """Dampen the weights that matter to the forget rows far more than to all rows (Foster et al. 2024)."""

    serves: ClassVar[frozenset[str]] = ALL
    ascent: ClassVar[Ascent] = "none"

    name: Literal["ssd"] = "ssd"
    selection: Annotated[float, Field(gt=0, le=10_000)] = 10.0     # α: how many times more
    dampening: Factor = 1.0         # λ
    batch: Count = 64


class L1Sparse(Descent):
    """Fine-tune on the retain rows under an L1 penalty that fades (Jia et al. 2023)."""

    serves: ClassVar[frozenset[str]] = ROWS

    name: Literal["l1_sparse"] = "l1_sparse"
    gamma: Factor = 5e-4            # weight of ‖θ‖₁ at the first epoch; it falls linearly to zero
    epochs: Count = 10              # over the retain rows
    lr: Rate = 0.01


class Retrain(Value):
    """Train anew from scratch on the retain rows: exact, and the last rung of every ladder."""

    serves: ClassVar[frozenset[str]] = ALL
    ascent: ClassVar[Ascent] = "none"

    name: Literal["retrain"] = "retrain"
    augmentation: Augmentation | None = None    # None: as the original was trained


Method = Annotated[
    NablaTau | FineTune | NegGrad | NegGradPlus | RandomLabel | Scrub | BadTeacher | Ssd | L1Sparse | Retrain,
    Field(discriminator="name"),
]


def _paired(recipe: M, order: Order, mask: Mask) -> M:
    if order == "sequential" and paired(mask):
        raise ValueError(f"the mask {mask.name!r} needs both losses in one step, so batches are paired: order=paired")
    return recipe
