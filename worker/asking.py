"""How the batches of one step go through the model: together where that is the same, apart where it is not."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from service.errors import BadInput
from worker.data import Batch
from worker.distributed import everyone, processes
from worker.gates import Gate

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Ask:
    """Answers of a model to the batches of a step, in one forward pass where the method and the model allow it.

    A gate that compares two gradients needs two graphs, and statistics over a batch are of that batch alone.
    """

    def __init__(self, model: nn.Module, *, apart: bool = False, micro: int = 1) -> None:
        moving = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.training]
        if processes() > 1 and not all(isinstance(m, nn.SyncBatchNorm) for m in moving):
            raise BadInput("statistics over a batch cannot be taken by several processes: one process, or bn=frozen")
        self.model, self.micro = model, micro
        self.apart = apart or micro > 1 or bool(moving)
        self.parts: list[Sequence[Tensor]] = []     # this process's answers to each batch, by micro-batch

    @classmethod
    def through(cls, model: nn.Module, gate: object) -> "Ask":
        """What this gate needs."""
        return cls(model, apart=True, micro=gate.micro) if isinstance(gate, Gate) else cls(model)

    def __call__(self, *batches: Batch) -> list[Tensor]:
        """(n, outputs) for each batch, over all processes."""
        xs = [batch.x for batch in batches]
        if self.apart or len(xs) == 1:
            self.parts = [[self._answer(part) for part in x.tensor_split(self.micro)] for x in xs]
            own = [torch.cat(list(parts)) if len(parts) > 1 else parts[0] for parts in self.parts]
        else:
            own = list(self._answer(torch.cat(xs)).split([len(x) for x in xs]))
        return [everyone(answers, len(batch)) for answers, batch in zip(own, batches, strict=True)]

    def _answer(self, x: Tensor) -> Tensor:
        if not len(x):      # more processes than rows: not every model can be asked about none
            return self._answer(x.new_ones(1, *x.shape[1:]))[:0]
        if x.device.type != "cuda":
            return self.model(x)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.bfloat16):
            return self.model(x).float()
