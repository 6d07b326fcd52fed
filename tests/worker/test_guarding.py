"""The guard over a run that ascends: each rule on a problem whose course is known."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from service.domain.recipes import AscentGuard, FineTune, NablaTau, NegGrad, Retrain
from service.errors import Cancelled, Diverged
from tests.worker import ascent_cases as cases
from worker import tasks
from worker.asking import Ask
from worker.data import Rows, Split
from worker.guarding import Rule, Watch, distance, watch
from worker.optimise import Objective, Progress, descend
from worker.unlearning import Run, unlearn

OPEN = AscentGuard(stop_when_unseen=False, tolerance=10, collateral=None)      # of which a test closes one rule


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def ascended(
    model: nn.Module, data: Split, guard: AscentGuard | None, *, epochs: int, lr: float, retain: float = 0.0
) -> tuple[list[dict[str, float]], list[dict[str, Tensor]]]:
    """Five steps of ascent an epoch; the log, and the weights after each epoch as they were before the guard looked."""
    run = Run(rng(), watch=watch(model, data, NegGrad(guard=guard)))
    course = list[dict[str, Tensor]]()

    def loss(rows: Rows) -> Tensor:
        return tasks.losses(model(rows.x), rows.y).mean()

    def objective(_: Ask) -> Objective:
        return Objective(retain=retain * loss(data.retain) - loss(data.forget))

    for _ in run.epochs(epochs, model):
        run.log.append(descend(model, objective, SGD(model.parameters(), lr), steps=5, progress=Progress(5)))
        course.append(state(model))
    return run.log, course


# ---- R1 -------------------------------------------------------------------------------------------------------------


def test_ascent_is_stopped_near_retraining_before_it_goes_too_far():
    rows = cases.noisy_line(60, seed=2)
    first = torch.arange(60) < 20
    data = Split(rows.take(~first), rows.take(first), cases.noisy_line(1000, seed=102))
    original, oracle = (
        cases.minimise(lambda w, of=of: cases.cross_entropy(of, w) + 0.005 * w.square().sum(), [0.0] * 5)
        for of in (rows, data.retain)
    )
    stopped, free = cases.Line(original), cases.Line(original)

    log, course = ascended(stopped, data, AscentGuard(collateral=None), epochs=45, lr=0.02)
    ascended(free, data, None, epochs=45, lr=0.02)

    nothing, guarded, unguarded = (
        (w - oracle).norm() for w in (original, stopped.line.weight[0], free.line.weight[0])
    )
    assert log[-1]["guard_rule"] == Rule.UNSEEN
    assert all("guard_rule" not in entry for entry in log[:-1])
    assert same(course[-1], state(stopped))
    assert guarded < nothing / 3
    assert unguarded > 1.3 * nothing


def test_a_class_that_no_unseen_row_has_is_ascended_without_end():
    model = cases.Line(torch.tensor([0.0, 2.0], dtype=torch.float64))
    zeros, ones = Rows(torch.eye(2).double()[:1], torch.tensor([0])), Rows(torch.eye(2).double()[1:], torch.tensor([1]))

    log, _ = ascended(model, Split(zeros, ones, zeros), AscentGuard(collateral=None), epochs=9, lr=0.5)

    assert len(log) == 9
    assert model(ones.x)[0, 1] < 0


# ---- R2 -------------------------------------------------------------------------------------------------------------


def test_a_run_into_the_trap_is_taken_back_to_its_last_good_weights():
    original = torch.tensor([2.7778, -0.5734], dtype=torch.float64)
    oracle = torch.tensor([2.7191, -0.5931], dtype=torch.float64)
    data = Split(cases.copies([5, 4, 1, 2]), cases.copies([0, 0, 0, 2]), cases.copies([50, 40, 10, 40]))
    guarded, free = cases.Curve(original), cases.Curve(original)

    log, course = ascended(guarded, data, AscentGuard(), epochs=9, lr=0.005, retain=6)
    ascended(free, data, None, epochs=60, lr=0.005, retain=6)

    assert log[-1]["guard_rule"] == Rule.VALIDATION
    assert same(state(guarded), course[-2])
    assert (guarded.line.weight[0] - oracle).norm() < 0.15
    assert (free.line.weight[0] - oracle).norm() > 0.6


def normalised() -> tuple[nn.Module, Split]:
    """A model with buffers that has all rows right."""
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 2)).eval()
    nn.init.constant_(model[1].bias, 0)
    model[1].weight.data = torch.tensor([[-1.0], [1.0]])
    x = torch.linspace(-1, 1, 40)[:, None]
    rows = Rows(x, (x[:, 0] > 0).long())
    return model, Split(rows, rows.take(torch.arange(0, 40, 8)), rows)


def test_weights_and_running_statistics_are_those_of_the_last_good_epoch():
    model, data = normalised()
    guard, log = Watch(model, data, OPEN), [{"epoch": 0.0}, {"epoch": 1.0}]
    with torch.no_grad():
        model[1].weight *= 2
        model[0].running_mean += 0.001
    good = state(model)

    first = guard.goes_on(model, log[:1])
    with torch.no_grad():
        model[1].weight *= -1
        model[0].running_mean += 5
    second = guard.goes_on(model, log)

    assert (first, second) == (True, False)
    assert same(state(model), good)
    assert "guard_rule" not in log[0]
    assert log[1]["guard_rule"] == 2.0


@pytest.mark.parametrize(("wrong", "goes_on"), [(2, True), (3, False)])
def test_accuracy_may_fall_by_its_tolerance(wrong, goes_on):
    model, data = normalised()      # all right, so a standard error is one row of 40
    guard = Watch(model, data, OPEN.model_copy(update={"tolerance": 2.0}))
    with torch.no_grad():
        model[1].bias[1] += 2 * data.validation.x[20 - wrong, 0].abs() + 0.01

    assert guard.goes_on(model, []) == goes_on


def test_weights_that_are_not_numbers_are_taken_back():
    model, data = normalised()
    before, guard = state(model), Watch(model, data, OPEN)
    with torch.no_grad():
        model[1].weight.fill_(float("nan"))

    assert not guard.goes_on(model, [])
    assert same(state(model), before)


# ---- R3 and R4 ------------------------------------------------------------------------------------------------------


class Constant(nn.Module):
    """Answers b: on forget rows of value 0 and unseen rows of values ±9 + 1, L_F = b² and L_V = (b − 1)² + 81."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.b.expand(len(x), 1)


def constant(guard: AscentGuard) -> tuple[Constant, Watch]:
    model, none, values = Constant(), torch.zeros(4, 1), torch.tensor([-8.0, 10, -8, 10])
    return model, Watch(model, Split(Rows(none, values), Rows(none, torch.zeros(4)), Rows(none, values)), guard)


def moved(model: Constant, guard: Watch, *places: float) -> list[bool]:
    answers = list[bool]()
    for b in places:
        model.b.data.fill_(b)
        answers.append(guard.goes_on(model, []))
    return answers


@pytest.mark.parametrize(("places", "answers"), [
    ((1.0, 1.5), [True, True]),             # ΔL_V < 0
    ((-1.0,), [False]),                     # 3/1
    ((0.01, -0.01), [True, True]),          # the forget loss has hardly moved
    ((5.0, 6.0), [True, False]),            # 15/25, then 24/36 and so above .6
])
def test_a_run_that_costs_unseen_rows_too_much_is_stopped_where_it_is(places, answers):
    model, guard = constant(OPEN.model_copy(update={"collateral": 0.6001}))

    assert moved(model, guard, *places) == answers
    assert model.b.item() == pytest.approx(places[-1])


def test_the_price_is_that_of_the_last_three_epochs():
    model, guard = constant(OPEN.model_copy(update={"collateral": 0.8}))

    answers = moved(model, guard, 2, 3, 4, 5, 6, 7)     # from a to b the price is 1 − 2/(a + b)

    assert answers == [True] * 5 + [False]              # 3 to 6 is 7/9, and 4 to 7 is 9/11


def test_weights_never_end_beyond_the_radius():
    model, guard = constant(OPEN.model_copy(update={"radius": 1.0}))
    log = [{}]

    assert moved(model, guard, 0.5, 0.9) == [True, True]
    model.b.data.fill_(1.1)
    assert not guard.goes_on(model, log)
    assert model.b.item() == pytest.approx(0.9)
    assert log[0]["guard_rule"] == Rule.RADIUS
    assert distance(model, guard.origin) <= 1


# ---- in a run -------------------------------------------------------------------------------------------------------


def test_only_a_recipe_with_a_guard_is_watched(original, split):
    assert watch(original, split, NegGrad()) is None
    assert watch(original, split, Retrain()) is None
    assert watch(original, split, FineTune(guard=AscentGuard())) is not None


def at(step: int) -> Callable[[int, int], None]:
    def stop(done: int, _total: int) -> None:
        if done == step:
            raise Cancelled("enough")

    return stop


def test_a_guarded_run_that_is_taken_up_again_ends_with_the_same_bits(original, split, tmp_path):
    p = NablaTau(passes=20, batch=40, guard=AscentGuard(tolerance=0.5, collateral=None, stop_when_unseen=False))
    whole = unlearn(original, split, p, rng=rng())

    with pytest.raises(Cancelled):
        unlearn(original, split, p, rng=rng(), snapshot=tmp_path / "run", on_step=at(len(whole.log) - 1))
    again = unlearn(original, split, p, rng=rng(), snapshot=tmp_path / "run")

    assert "guard_rule" in whole.log[-1]
    assert again.log == whole.log
    assert same(state(again.model), state(whole.model))
    assert not (tmp_path / "run").exists()


def test_last_good_weights_outlive_the_process():
    model, data = normalised()
    first = Watch(model, data, OPEN)
    with torch.no_grad():
        model[1].weight *= 3
    first.goes_on(model, [])
    good, second = state(model), Watch(normalised()[0], data, OPEN)

    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        model[1].weight *= -1

    assert not second.goes_on(model, [])
    assert same(state(model), good)


def test_a_loss_that_is_not_finite_names_its_step_and_leaves_the_model_alone(original, split):
    before = state(original)
    forget = Rows(torch.full_like(split.forget.x, 3e38), split.forget.y)
    method = NablaTau(passes=1, batch=40, guard=AscentGuard())

    with pytest.raises(Diverged) as caught:
        unlearn(original, Split(split.retain, forget, split.validation), method, rng=rng())

    assert caught.value.step == 1
    assert same(state(original), before)


def test_an_optimiser_of_another_models_weights_is_refused():
    teacher = nn.Linear(3, 2)
    student = deepcopy(teacher)
    before = state(student)

    with pytest.raises(ValueError, match="other weights"):
        descend(student, lambda _: Objective(retain=student(torch.ones(1, 3)).sum()), SGD(teacher.parameters(), 1.0),
                steps=1, progress=Progress(1))

    assert same(state(student), before)
