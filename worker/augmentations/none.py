"""Rows as they are."""

from service.domain.recipes import NoAugmentation
from worker.registry import augmentation


@augmentation(NoAugmentation)
def none(_: NoAugmentation) -> None:
    """Nothing to do."""
