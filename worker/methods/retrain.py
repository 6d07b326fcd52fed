"""Retraining from scratch: exact unlearning, and what every other method is measured against.

    A(D_r, seed)    the model's own training recipe and seed, on the retain rows alone
"""

from torch import nn

from service.domain.recipes import Retrain, Spec
from service.errors import BadInput
from worker.data import Split
from worker.registry import method
from worker.training import skeleton, train
from worker.unlearning import Run


@method(Retrain)
def retrain(model: nn.Module, data: Split, p: Retrain, run: Run) -> None:
    """The weights at hand are not looked at, only replaced."""
    if run.spec is None:
        raise BadInput("retraining needs the model's recipe: pass spec=")
    same_architecture(model, run.spec)
    device = next(model.parameters()).device
    spec = run.spec.augmented(p.augmentation)
    fresh = train(spec, data.retain, device=device, on_step=run.on_step, snapshot=run.snapshot)
    model.load_state_dict(fresh.state_dict())


def same_architecture(model: nn.Module, spec: Spec) -> None:
    """Refuse a recipe that makes another model, before the time is spent."""
    shapes = [{name: t.shape for name, t in each.state_dict().items()} for each in (model, skeleton(spec))]
    if shapes[0] != shapes[1]:
        raise BadInput("the recipe describes another architecture than the model's")
