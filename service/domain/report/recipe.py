"""What U-LiRA found about a recipe: can a row that was trained on and unlearned be told from one never seen?"""

from typing import Annotated, Literal

from pydantic import AfterValidator

from service.domain.recipe_audits import RecipePlan
from service.domain.report.evidence import EpsilonBound, Klom
from service.domain.report.numbers import Interval, Number
from service.domain.values import Value

PValue = Annotated[float, AfterValidator(lambda value: float(f"{value:.3g}"))]      # three digits, and never 0


class PerExample(Value):
    """Tests of single rows, over models: exact signed ranks of the pairs of shadows; Holm over the rows."""

    n_tested: int
    n_significant_holm: int
    smallest_p: PValue
    smallest_possible_p: PValue
    auc_quantiles: tuple[Number, ...]           # 0, 5, 25, 50, 75, 95, 100 % over rows of the AUC over models
    epsilon: EpsilonBound                       # of the row that half of the models single out, on the other half


class Seen(Value):
    """The attack on one state of the shadows; scored leave-one-model-out, mean over models."""

    auc: Number
    auc_ci95: Interval                          # pairs of models left out in groups
    balanced_accuracy: Number                   # where both likelihoods are equal
    tpr_at_1: Number | None                     # at 1 % FPR over all models; None: too few rows
    per_example: PerExample
    epsilon: EpsilonBound                       # of persons, guessed by half of the pairs in the other half
    klom: Klom | None                           # None: too few models for it to mean anything


class RecipeReport(Value):
    """One report per release of a recipe; same plan, rows and code, same bytes."""

    schema_version: Literal[1] = 1
    plan: RecipePlan
    plan_sha256: str
    recipe_sha256: str                          # of the data set, the training recipe and the method together
    dataset_sha256: str | None
    code_sha256: str
    n_in_unlearned: Number                      # models per row on each side, mean
    n_out: Number
    n_rows: int                                 # of the pool
    n_persons: int
    before: Seen                                # positive control: doing nothing
    after: Seen
    holdout_drop: Number                        # mean holdout accuracy before less after, over shadows
    environment: dict[str, str]
    statement: str
    not_claimed: tuple[str, ...]
