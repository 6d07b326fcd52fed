"""Several processes on one job: each answers for its part of every batch, all of them take the same step.

The loss is made of the whole batch's answers, of which only this process's own carry a gradient; the sum of the
gradients of all is therefore that of the whole batch, whatever the loss does with its rows (sort them, say).
The gradients are added here and not by the DDP wrapper, because a mask compares two of them before every step.
"""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed
from torch.distributed.distributed_c10d import get_node_local_rank

from service.errors import BadInput


@contextmanager
def joined() -> Generator[None]:
    """Take part in the job that torchrun started this process for; without torchrun there is nothing to join.

    Each process of a machine has a GPU of its own; without GPUs they talk over gloo.

    Raises:
        BadInput: a machine has fewer GPUs than processes.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        settle(get_node_local_rank())
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def settle(own: int) -> None:
    """The GPU that `cuda` means in this process."""
    if own >= torch.cuda.device_count():
        raise BadInput(f"there are fewer GPUs than processes: {torch.cuda.device_count()}")
    torch.cuda.set_device(own)


def processes() -> int:
    """How many take part."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def place() -> int:
    """The number of this process among them."""
    return distributed.get_rank() if processes() > 1 else 0


def share(rows: Tensor) -> Tensor:
    """This process's part of a batch; the parts in the order of the processes are the batch."""
    return rows if processes() == 1 else rows.tensor_split(processes())[place()]


def everyone(answers: Tensor, size: int) -> Tensor:
    """(size, …) the answers of all processes to one batch; those of the others carry no gradient."""
    if processes() == 1:
        return answers
    most = -(-size // processes())
    padded = answers.detach().new_zeros(most, *answers.shape[1:])
    padded[: len(answers)] = answers.detach()
    gathered = [torch.empty_like(padded) for _ in range(processes())]
    distributed.all_gather(gathered, padded)
    lengths = [len(part) for part in torch.arange(size).tensor_split(processes())]
    parts = [held[:length] for held, length in zip(gathered, lengths, strict=True)]
    parts[place()] = answers
    return torch.cat(parts)


def summed(gradients: list[Tensor]) -> list[Tensor]:
    """The sum of each gradient over all processes, in one message."""
    if processes() == 1:
        return gradients
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    return [part.view_as(g) for part, g in zip(flat.split([g.numel() for g in gradients]), gradients, strict=True)]
