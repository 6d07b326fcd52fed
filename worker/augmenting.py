"""What is done to training batches, by the recipe's word. Evaluation and audit read rows through `inference` alone."""

from service.domain.recipes import Augmentation
from service.errors import BadInput
from worker.data import Augment, Rows
from worker.registry import augmentation


def of(recipe: Augmentation, rows: Rows) -> Augment | None:
    """The transformation of a batch of such rows; None where there is none.

    Raises:
        BadInput: it is one of pictures, and the rows are none.
    """
    if recipe.name not in {"none", "mixup"} and len(rows.x.shape) != 4:
        raise BadInput(f"the augmentation {recipe.name!r} is one of pictures")
    return augmentation.find(recipe)(recipe)
