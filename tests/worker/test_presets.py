"""The named recipes, on a few pictures, as they stand."""

import pytest
import torch

from service.domain.recipes import PRESETS, Image, ResNet18, Spec
from tests.worker.conftest import rng
from worker.data import Rows, Split
from worker.training import build
from worker.unlearning import unlearn

RETAIN, FORGET = 24, 8
# By hand from the papers' settings: the retain set is one batch, so three passes are three forget-epochs.
STEPS = {
    "salun": 30, "paper:nabla-tau": 3, "paper:nabla-tau-text": 1, "paper:feasible-updates": 30, "paper:salun": 20,
}


def pictures(n: int, seed: int) -> Rows:
    x = torch.rand(n, 1, 8, 8, generator=rng(seed))
    return Rows(x, (x.mean(dim=(1, 2, 3)) > 0.5).long())


def test_every_preset_is_tried_here():
    assert STEPS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_runs_on_pictures_and_moves_weights(name):
    spec = Spec(family=ResNet18(width=2), input=Image(channels=1, height=8, width=8), classes=2)
    model = build(spec, rng(1)).eval()
    data = Split(pictures(RETAIN, 2), pictures(FORGET, 3), pictures(10, 4))
    heard: list[tuple[int, int]] = []

    after = unlearn(model, data, PRESETS[name].method, rng=rng(), on_step=lambda *step: heard.append(step)).model

    assert heard == [(i + 1, STEPS[name]) for i in range(STEPS[name])]
    assert all(torch.isfinite(t).all() for t in after.state_dict().values())
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), after.parameters(), strict=True))


def test_the_published_settings_are_those_of_the_papers():
    nabla_tau, text = PRESETS["paper:nabla-tau"].method, PRESETS["paper:nabla-tau-text"].method
    feasible, salun = PRESETS["paper:feasible-updates"].method, PRESETS["paper:salun"].method

    assert (nabla_tau.target, nabla_tau.form, nabla_tau.alpha0, nabla_tau.passes, nabla_tau.lr) == (
        "mean", "squared", None, 3.0, None
    )
    assert (text.form, text.alpha0, text.passes, text.batch, text.lr, text.schedule) == (
        "two_sided", 0.5, 0.5, 128, 3e-4, "constant"
    )
    assert (feasible.beta, feasible.epochs, feasible.lr, feasible.batch, feasible.mask.p) == (0.95, 30, 1e-4, 256, 0.3)
    assert (salun.labels, salun.order, salun.epochs, salun.lr, salun.mask.keep, salun.mask.scope) == (
        "uniform", "sequential", 10, 0.013, 0.5, "global"
    )
    assert [name for name, preset in PRESETS.items() if preset.method.bn == "train"] == [
        "paper:nabla-tau-text", "paper:feasible-updates", "paper:salun"
    ]
