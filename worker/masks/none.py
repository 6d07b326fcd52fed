"""Every weight may move."""

from service.domain.recipes import NoMask
from worker.registry import mask


@mask(NoMask)
def none(_: NoMask) -> None:
    """No gate, so a step needs one backward pass and no comparison."""
