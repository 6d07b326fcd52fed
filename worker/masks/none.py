"""Every weight may move."""

from torch import nn

from service.domain.recipes import NoMask
from worker.data import Split
from worker.registry import mask


@mask(NoMask)
def none(_: NoMask, _model: nn.Module, _data: Split) -> None:
    """No gate, so a step needs one backward pass and no comparison."""
