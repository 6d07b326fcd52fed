"""SCRUB and the bad teacher, against torch's own divergence and optimisers."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.optim import SGD, Adam

from service.domain.recipes import BadTeacher, Scrub
from service.errors import BadInput
from tests.worker.conftest import rng
from tests.worker.method_cases import close, far, follow, linear, run, spec, split
from worker.data import Batch, Rows
from worker.inference import losses
from worker.methods.bad_teacher import incompetent, part, some
from worker.methods.scrub import divergence
from worker.teaching import teacher
from worker.training import build

T = 4.0


def hinton(teacher: Tensor, student: Tensor, temperature: float = T) -> Tensor:
    """T² · KL by torch: log-probabilities of the student, probabilities of the teacher, the mean over rows."""
    own, known = log_softmax(student / temperature, dim=1), softmax(teacher / temperature, dim=1)
    return temperature**2 * kl_div(own, known, reduction="batchmean")


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_is_torchs(temperature):
    known, student = torch.tensor([[5.0], [1.0]])[:, :, None] * torch.randn(2, 20, 7, generator=rng())
    batch = Batch(torch.zeros(20, 1), torch.zeros(20).long())

    ours = divergence(batch, known, student, temperature)

    assert ours.item() == pytest.approx(hinton(known, student, temperature).item(), rel=1e-5)
    assert ours.item() != pytest.approx(hinton(student, known, temperature).item(), rel=1e-2)


def test_the_slope_of_the_divergence_does_not_shrink_with_the_temperature():
    known, student = torch.randn(2, 50, 5, generator=rng())
    batch = Batch(torch.zeros(50, 1), torch.zeros(50).long())
    moved = student.requires_grad_()

    slopes = [torch.autograd.grad(divergence(batch, known, moved, t), moved)[0].norm().item() for t in (50.0, 100.0)]

    assert slopes[0] == pytest.approx(slopes[1], rel=0.05)


def test_scrub_alternates_and_its_rate_falls_after_the_third_epoch():
    model, data = linear(), split()
    f, r, known = data.forget, data.retain, deepcopy(model)
    with torch.no_grad():
        t_f, t_r = model(f.x), model(r.x)
    optimiser = SGD(known.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)

    def away() -> Tensor:
        return -hinton(t_f, known(f.x))

    def back(rate: float):
        def loss() -> Tensor:
            optimiser.param_groups[0]["lr"] = rate
            return 0.5 * hinton(t_r, known(r.x)) + 2.0 * cross_entropy(known(r.x), r.y)

        return loss

    after = run(model, data, Scrub(alpha=0.5, gamma=2.0, epochs=4, max_epochs=2, lr=0.05)).model

    turns = [away, back(0.05), away, back(0.05), back(0.05), back(0.005)]
    assert close(after, follow(known, optimiser, turns), atol=1e-5)
    assert far(after, model)


def test_scrub_in_pairs_is_adam_on_the_weighted_sum():
    model, data = linear(), split()
    f, r, known = data.forget, data.retain, deepcopy(model)
    with torch.no_grad():
        t_f, t_r = model(f.x), model(r.x)

    def loss() -> Tensor:
        kept = 0.5 * hinton(t_r, known(r.x)) + cross_entropy(known(r.x), r.y)
        return 0.8 * kept - 0.2 * hinton(t_f, known(f.x))

    after = run(model, data, Scrub(order="paired", beta=0.8, epochs=4, lr=0.02)).model

    assert close(after, follow(known, Adam(known.parameters(), 0.02), [loss] * 4), atol=1e-5)


def test_the_log_of_scrub_begins_where_the_student_is_the_teacher():
    model, data = linear(), split()

    log = run(model, data, Scrub(lr=0.1)).log

    assert log[0]["forget_divergence"] == pytest.approx(0, abs=1e-6)
    assert log[1]["forget_divergence"] > 0
    assert ["forget_divergence" in entry for entry in log] == [True] * 3 + [False] * 3


def test_more_epochs_of_ascent_than_epochs_are_as_many():
    heard: list[tuple[int, int]] = []

    run(linear(), split(), Scrub(epochs=2, max_epochs=9), on_step=lambda *step: heard.append(step))

    assert heard == [(i, 4) for i in range(1, 5)]


def test_a_teacher_is_at_rest_and_has_no_gradient():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    x = torch.randn(6, 3, generator=rng())

    (answers,) = teacher(model)(Batch(x, torch.zeros(6)))

    assert torch.equal(answers, model[1].eval()(model[0](x)))
    assert not answers.requires_grad


def test_a_bad_teacher_teaches_the_forget_rows_and_the_original_the_rest():
    model, data = linear(), split()
    f, r, known, g = data.forget, data.retain, deepcopy(model), rng(0)
    some(r, 1.0, g)                                         # the first draw of the run
    with torch.no_grad():
        t_f, t_r = incompetent(model, g)(f.x), model(r.x)

    def loss() -> Tensor:
        return (5 * hinton(t_f, known(f.x), 2.0) + 9 * hinton(t_r, known(r.x), 2.0)) / 14 / 2.0**2

    recipe = BadTeacher(retain_share=1.0, temperature=2.0, epochs=3, lr=0.02)
    result = run(model, data, recipe)

    assert close(result.model, follow(known, Adam(known.parameters(), 0.02), [loss] * 3), atol=1e-5)
    assert result.log[0]["retain_divergence"] == pytest.approx(0, abs=1e-6)
    assert result.log[0]["forget_loss"] == pytest.approx(losses(model, f).mean().item(), abs=1e-6)


def test_an_incompetent_teacher_is_a_new_model():
    model = linear()

    fresh = incompetent(model, rng(5))

    assert close(fresh, build(spec(), rng(5)), atol=0)
    assert not close(fresh, model)
    assert all(w.requires_grad for w in model.parameters())


def test_statistics_and_modules_that_only_know_themselves_begin_anew_too():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Bilinear(4, 4, 2))
    model[1](model[0](torch.randn(9, 3, generator=rng())))

    fresh = incompetent(model[:2], rng(5))
    fresh_too = incompetent(model, rng(5))

    assert torch.equal(fresh[1].running_mean, torch.zeros(4))
    assert not torch.equal(model[1].running_mean, torch.zeros(4))
    assert not torch.equal(fresh_too[2].weight, model[2].weight)


def test_a_model_whose_weights_nobody_can_begin_is_refused_before_the_first_step():
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.by

    heard: list[int] = []

    with pytest.raises(BadInput, match="Scale"):
        run(Scale(), split(), BadTeacher(), on_step=lambda done, _: heard.append(done))

    assert not heard


@pytest.mark.parametrize(("share", "n"), [(0.3, 3), (1.0, 9), (0.01, 1)])
def test_the_share_of_the_retain_rows_is_drawn_without_repeating_one(share, n):
    rows = Rows(torch.arange(9.0)[:, None], torch.arange(9))

    drawn = some(rows, share, rng())

    assert len(drawn) == len(set(drawn.y.tolist())) == n
    assert torch.equal(drawn.x[:, 0].long(), drawn.y)


@pytest.mark.parametrize(("share", "size"), [(0.25, 64), (0.75, 192), (0.001, 3)])
def test_a_step_has_both_sets_in_their_proportion(share, size):
    assert part(BadTeacher(batch=256), share).batch == size
