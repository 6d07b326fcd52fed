"""What a label says of its row, and how wrong an answer is. The labels tell the task:

    int64 (n,)      classification      cross-entropy, in nats
    float (n, K)    multi-label         mean over the labels of the binary cross-entropy, in nats
    float (n,)      regression          squared error; the model has one output

Methods are written in terms of a loss per row, so they serve all of them.
"""

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from service.domain.recipes import Task
from service.errors import BadInput


def task_of(y: Tensor) -> Task:
    """The task that labels like these belong to."""
    if not y.is_floating_point():
        return "classification"
    return "regression" if y.dim() == 1 else "multi_label"


def refuse_labels(y: Tensor, outputs: int) -> None:
    """Refuse labels that a model with so many outputs knows nothing of."""
    match task_of(y), y.dim():
        case "classification", 1:
            fits = bool(((y >= 0) & (y < outputs)).all())
        case "multi_label", 2:
            fits = y.shape[1] == outputs
        case "regression", 1:
            fits = outputs == 1
        case _:
            fits = False
    if not fits:
        raise BadInput(f"labels of a {task_of(y)} are not what a model with {outputs} outputs answers")


def losses(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) loss of each row."""
    match task_of(y):
        case "classification":
            return cross_entropy(outputs, y, reduction="none")
        case "multi_label":
            return binary_cross_entropy_with_logits(outputs, y, reduction="none").mean(dim=1)
        case "regression":
            return (outputs[:, 0] - y).square()


def hits(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) share of each row's labels that the answer has right."""
    match task_of(y):
        case "classification":
            return (outputs.argmax(dim=1) == y).float()
        case "multi_label":
            return ((outputs > 0) == (y > 0.5)).float().mean(dim=1)
        case "regression":
            raise BadInput("a regression has no accuracy: compare losses")


def divergences(teacher: Tensor, student: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
    """(n,) KL(teacher ‖ student) of each row's answer at a temperature; half the squared distance for a regression."""
    t, s = teacher / temperature, student / temperature
    match task_of(y):
        case "classification":
            log_t, log_s = t.log_softmax(dim=1), s.log_softmax(dim=1)
            return (log_t.exp() * (log_t - log_s)).sum(dim=1)
        case "multi_label":
            yes, no = t.sigmoid() * (logsigmoid(t) - logsigmoid(s)), (-t).sigmoid() * (logsigmoid(-t) - logsigmoid(-s))
            return (yes + no).mean(dim=1)
        case "regression":
            return 0.5 * (t - s)[:, 0].square()


def wrong_labels(y: Tensor, outputs: int, rng: Generator) -> Tensor:
    """Labels that are never the true ones: another class; some labels turned; another value of the same spread."""
    match task_of(y):
        case "classification":
            return (y + torch.randint(1, outputs, y.shape, generator=rng).to(y.device)) % outputs
        case "multi_label":
            turned = torch.rand(y.shape, generator=rng) < 0.5
            turned[torch.arange(len(y)), torch.randint(outputs, (len(y),), generator=rng)] = True
            return torch.where(turned.to(y.device), 1 - y, y)
        case "regression":
            spread = y.std() if len(y) > 1 else y.abs().mean()
            least = 1e-3 * y.abs().max().clamp(min=1)       # so that it is another number in floats, too
            side = torch.randint(2, y.shape, generator=rng).to(y) * 2 - 1
            return y + side * (1 + torch.rand(y.shape, generator=rng).to(y)) * torch.maximum(spread, least)


def any_labels(y: Tensor, outputs: int, rng: Generator) -> Tensor:
    """Labels drawn evenly, the true ones among them; of a regression: the batch's own values in another order."""
    match task_of(y):
        case "classification":
            return torch.randint(outputs, y.shape, generator=rng).to(y.device)
        case "multi_label":
            return (torch.rand(y.shape, generator=rng) < 0.5).to(y)
        case "regression":
            return y[torch.randperm(len(y), generator=rng).to(y.device)]
