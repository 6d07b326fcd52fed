"""Training from scratch: the same bits from the same rows and seed."""

import pytest
import torch

from service.domain.recipes import AdamW, Cnn, Image, Logistic, Mlp, ResNet18, Sgd, Spec, Training, Vector
from service.errors import BadInput, Cancelled, Diverged
from worker.data import Rows
from worker.inference import accuracy, losses
from worker.training import rate, train


def separable(n: int = 60) -> Rows:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return Rows(x, (x[:, 0] > 0).long())


def recipe(**training: object) -> Spec:
    return Spec(family=Mlp(hidden=(8,)), training=Training(**training), input=Vector(features=4), classes=2)


def test_the_same_rows_and_seed_give_the_same_bits_whatever_the_global_seed():
    torch.manual_seed(1)
    one = train(recipe(epochs=3, batch=16), separable()).state_dict()
    torch.manual_seed(2)
    same = train(recipe(epochs=3, batch=16), separable()).state_dict()

    assert all(torch.equal(one[name], same[name]) for name in one)


def test_another_seed_gives_another_model():
    one, other = (train(recipe(epochs=1, seed=seed), separable()).state_dict() for seed in (0, 1))

    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()

    train(recipe(epochs=1), separable())

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.1), AdamW(lr=1e-2)])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_every_optimiser_and_schedule_learns(optimizer, schedule):
    rows = separable()

    model = train(recipe(optimizer=optimizer, schedule=schedule, epochs=25, batch=8), rows)

    assert accuracy(model, rows) > 0.95


@pytest.mark.parametrize("family", [Logistic(), Cnn(width=4), ResNet18(width=4)])
def test_pictures_of_bytes_are_learned(family):
    x = torch.zeros(24, 1, 8, 8, dtype=torch.uint8)
    x[12:, :, 2:6, 2:6] = 255
    rows = Rows(x, torch.arange(24) // 12)
    recipe = Training(optimizer=AdamW(lr=1e-2), epochs=30, batch=8)
    spec = Spec(family=family, training=recipe, input=Image(channels=1, height=8, width=8), classes=2)

    assert accuracy(train(spec, rows), rows) == 1.0


@pytest.mark.parametrize(
    ("schedule", "factors"), [("constant", [1, 1, 1]), ("linear", [1, 0.75, 0]), ("cosine", [1, 0.853553, 0])]
)
def test_the_learning_rate_falls_as_its_schedule_says(schedule, factors):
    assert [rate(Training(schedule=schedule), d) for d in (0, 0.25, 1)] == pytest.approx(factors)


def test_one_lone_row_can_be_trained_on():
    model = train(recipe(epochs=1), separable(1))

    assert torch.isfinite(losses(model, separable(1))).all()


def test_a_batch_that_would_leave_a_lone_row_does_not_break_batch_normalisation():
    rows = Rows(torch.rand(9, 1, 8, 8), torch.arange(9) % 2)
    image = Image(channels=1, height=8, width=8)
    spec = Spec(family=ResNet18(width=1), training=Training(epochs=1, batch=8), input=image, classes=2)

    assert torch.isfinite(losses(train(spec, rows), rows)).all()


def test_who_watches_hears_of_every_step_and_may_stop():
    heard: list[tuple[int, int]] = []

    def listen(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        train(recipe(epochs=4, batch=20), separable(), on_step=listen)

    assert heard == [(step, 12) for step in range(1, 6)]


@pytest.mark.parametrize(
    "rows",
    [
        Rows(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
        Rows(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)),
        Rows(torch.zeros(2, 4), torch.tensor([0, 2])),
        Rows(torch.zeros(2, 4), torch.tensor([-1, 0])),
    ],
    ids=["no rows", "five features", "label too large", "label below zero"],
)
def test_rows_that_do_not_fit_are_refused_before_the_first_step(rows):
    heard: list[int] = []

    with pytest.raises(BadInput):
        train(recipe(epochs=1), rows, on_step=lambda done, _: heard.append(done))

    assert not heard


def test_a_loss_that_explodes_is_an_error_that_names_the_step():
    rows = Rows(torch.full((4, 4), float("inf")), torch.tensor([0, 1, 0, 1]))

    with pytest.raises(Diverged, match="step 1"):
        train(recipe(epochs=1), rows)


def test_weights_that_the_last_step_ruins_are_an_error_that_names_it():
    rows = Rows(torch.full((4, 4), 1e38), torch.tensor([0, 1, 0, 1]))
    recipe = Training(optimizer=Sgd(lr=10, momentum=0, weight_decay=0), epochs=1, batch=4)
    spec = Spec(family=Logistic(), training=recipe, input=Vector(features=4), classes=2)

    with pytest.raises(Diverged, match="step 1"):
        train(spec, rows)


def test_losses_are_those_of_each_row():
    model, rows = train(recipe(epochs=1), separable()), separable()

    p = model(rows.x).softmax(dim=1)[torch.arange(len(rows)), rows.y]

    assert torch.allclose(losses(model, rows, chunk=7), -p.log(), atol=1e-6)
