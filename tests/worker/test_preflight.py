"""What is said before a run, against closed forms, counts by hand, and the paper's toys (digest T4.1 to T4.7)."""

from copy import deepcopy
from math import nan

import numpy as np
import pytest
import torch
from torch import nn

from service.domain.recipes import AscentGuard, FineTune, NablaTau, NegGrad, NegGradPlus, Scrub
from service.errors import BadInput
from tests.worker import ascent_cases as cases
from worker import preflighting as checked
from worker import unseen
from worker.data import Rows, Split
from worker.dependence import features, k_means, outweighed, separability
from worker.preflighting import Ascent, Preflight, collateral, first_step, hoeffding, preflight

FREE, GUARDED = Ascent(0.5, "none"), Ascent(0.5, "guard")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def verdicts(found: Preflight) -> dict[str, str]:
    return {check.name[:2]: check.verdict for check in found.checks}


# ---- G1: is there anything to forget --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "epsilon"), [(10, 0.429469), (100, 0.135810), (500, 0.060736), (1000, 0.042947), (5000, 0.019206)]
)
def test_hoeffding_has_the_digests_values(n, epsilon):
    assert hoeffding(n) == pytest.approx(epsilon, abs=5e-7)


def test_unseen_rows_are_weighted_to_the_classes_of_the_forget_rows():
    forget = Rows(torch.zeros(4, 1), torch.tensor([0, 0, 1, 2]))
    held_out = Rows(torch.zeros(6, 1), torch.tensor([0, 1, 1, 1, 1, 3]))

    weights = unseen.match(forget, held_out)

    assert weights.forget.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert weights.unseen.tolist() == pytest.approx([2 / 3, *[1 / 12] * 4, 0])
    assert weights.rows[1] == pytest.approx(1 / (4 / 9 + 4 / 144))


def test_rows_known_by_heart_are_something_to_forget(original, split):
    found = preflight(original, split, NablaTau(), rng=rng())

    assert verdicts(found)["G1"] == "ok"
    assert found.numbers["G1_accuracy_gap"] > 0.2
    assert found.verdict != "refuse"


def unknowing(n: int) -> tuple[nn.Module, Split]:
    """A model that knows none of the rows better than others."""
    torch.manual_seed(3)
    parts = [cases.noisy_line(size, seed) for seed, size in enumerate((n, n, n))]
    return cases.Line(torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)), Split(*parts)


@pytest.mark.parametrize(("method", "verdict"), [(None, "refuse"), (NegGrad(guard=AscentGuard()), "warn")])
def test_many_rows_no_better_known_than_others_are_nothing_to_forget(method, verdict):
    model, data = unknowing(1000)

    assert verdicts(preflight(model, data, method, rng=rng()))["G1"] == verdict


def test_few_rows_no_better_known_than_others_are_too_few_to_tell():
    model, data = unknowing(60)

    found = preflight(model, data, rng=rng())

    assert verdicts(found)["G1"] == "warn"
    assert "too few" in found.checks[0].sentence


def test_a_class_that_validation_lacks_is_warned_of():
    model, data = unknowing(200)
    data = Split(data.retain.take(data.retain.y == 0), data.forget.take(data.forget.y == 1),
                 data.validation.take(data.validation.y == 0))

    assert preflight(model, data, rng=rng()).checks[0].verdict == "warn"


# ---- G2: could the forget rows be any rows --------------------------------------------------------------------------


def test_rows_of_one_distribution_are_not_told_apart_and_moved_ones_are():
    draw = np.random.default_rng(0)
    here, there = draw.normal(size=(200, 5)), draw.normal(size=(300, 5))
    units = np.arange(200), np.arange(200, 500)

    assert separability([here, there], units, rng()) == pytest.approx(0.5, abs=0.08)
    assert separability([here + 1, there], units, rng()) > 0.9


def test_a_persons_likeness_to_itself_is_no_difference_between_the_sets():
    draw = np.random.default_rng(1)
    own = draw.normal(size=(60, 40)).repeat(10, axis=0)     # ten rows of each person, nearly alike
    x, who = own + 0.01 * draw.normal(size=own.shape), np.arange(60).repeat(10)

    assert separability([x[:200], x[200:]], (who[:200], who[200:]), rng()) == pytest.approx(0.5, abs=0.15)
    assert separability([x[:200], x[200:]], (np.arange(200), np.arange(200, 600)), rng()) > 0.8


def test_features_are_what_the_last_linear_layer_is_given():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    rows = cases.noisy_line(30, 0)

    seen = features(model, rows)

    assert seen.hidden
    assert np.allclose(seen.features, model[:2](rows.x).detach().numpy())


def test_a_model_without_a_linear_layer_is_known_by_its_answers():
    rows = Rows(torch.rand(8, 1, 2, 2), torch.zeros(8).long())
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten())

    seen = features(model, rows)

    assert not seen.hidden
    assert np.allclose(seen.features, model(rows.x).detach().numpy())


# ---- G3: clusters in which the ascent outweighs the descent ---------------------------------------------------------


@pytest.mark.parametrize(("forget", "flagged"), [(1.0, False), (10 / 3, True), (3.6, True), (6.0, True)])
def test_a_block_is_flagged_where_its_ascent_has_no_minimum_above_zero(forget, flagged):
    n_F, n_R = np.array([forget, 10 - forget]), np.array([30.0, 60.0])

    assert outweighed(n_F, n_R, 0.5)[0] == flagged
    assert flagged == (not cases.Block(forget).closed[2] > 1e-9)


def test_the_traps_point_is_flagged_by_its_sums():
    gamma, n_F, n_R = 1, np.array([0.0, 0, 0, 2]), np.array([5.0, 4, 1, 2])
    share = gamma * n_F.sum() / (gamma * n_F.sum() + n_R.sum())

    assert outweighed(n_F, n_R, share).tolist() == [False, False, False, True]


def test_few_kinds_of_rows_are_a_cluster_each():
    kinds = np.array([[0.0, 1], [2, 3], [4, 5]])

    clusters = k_means(kinds[[0, 1, 2, 1, 0]], rng())

    assert clusters[0] == clusters[4] != clusters[1] == clusters[3] != clusters[2]


# ---- G4: what unseen rows pay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("g_V", "kappa", "verdict"), [
    ([4.0, 3.0], 0.96, "warn"), ([-4.0, 3.0], 0.0, "ok"), ([6.0, 8.0], 2.0, "refuse"), ([0.0, 0.0], 0.0, "ok"),
])
def test_kappa_is_the_slope_of_the_unseen_loss_along_the_ascent(g_V, kappa, verdict):
    check = collateral([torch.tensor([3.0, 4.0])], [torch.tensor(g_V)], FREE)

    assert check.value == pytest.approx(kappa)
    assert check.verdict == verdict


def test_what_stops_by_itself_is_warned_of_and_not_refused():
    assert collateral([torch.tensor([3.0, 4.0])], [torch.tensor([6.0, 8.0])], GUARDED).verdict == "warn"


def test_retain_rows_in_the_place_of_unseen_ones_are_recognised():
    rows = cases.noisy_line(200, seed=5)
    forget, retain = rows.take(torch.arange(40)), rows.take(torch.arange(40, 200))
    model = cases.Line(cases.minimise(lambda w: cases.cross_entropy(rows, w), [0.0] * 5))
    g_F, g_R = (checked.mean_gradient(model, part)[0] for part in (forget, retain))

    found = preflight(model, Split(retain, forget, retain), NablaTau(), rng=rng())
    honest = preflight(model, Split(retain, forget, cases.noisy_line(160, seed=6)), NablaTau(), rng=rng())

    assert (g_F / g_R).flatten().tolist() == pytest.approx([-4] * 5, rel=1e-4)
    assert found.numbers["G4_collateral"] == pytest.approx(-1, abs=1e-6)
    assert verdicts(found)["G4"] == found.verdict == "refuse"
    assert verdicts(honest)["G4"] != "refuse"


# ---- G5: the first step ---------------------------------------------------------------------------------------------


def asked(toy: cases.Block | cases.Correlated, w: torch.Tensor, ascent: Ascent = FREE) -> checked.Check:
    g_F, g_R = cases.slope(toy.forget, w), cases.slope(toy.retain, w)
    return first_step([g_F], [g_R], [toy.decay * w], (int(toy.F), int(toy.R)), ascent)


@pytest.mark.parametrize(("forget", "known"), [
    (1.0, (1.066768, 1.104542, 0.925125)), (10 / 3, (1.104542, 1.104542, 0)), (3.6, (nan, 1.104542, -0.396384)),
])
def test_the_blocks_minima_are_lamberts(forget, known):
    toy = cases.Block(forget)
    losses = toy.everything, lambda w: toy.retain(w) + toy.ridge(w), toy.ascent

    assert toy.closed[1:] == pytest.approx(known[1:], abs=1e-6)
    for loss, w in zip(losses, toy.closed, strict=True):
        assert cases.minimise(loss, [0.9]).item() == pytest.approx(w, abs=1e-6)


@pytest.mark.parametrize(("forget", "d_or", "d_da", "verdict"), [
    (1.0, 0.008029, -0.026382, "refuse"), (10 / 3, 0.0, -0.110454, "refuse"), (6.0, -0.008484, -0.199364, "ok"),
])
def test_a_first_step_away_from_retraining_is_refused(forget, d_or, d_da, verdict):
    toy = cases.Block(forget)
    w = torch.tensor([toy.closed[0]], dtype=torch.float64)
    parts = [cases.slope(toy.forget, w)], [cases.slope(toy.retain, w)], [toy.decay * w]

    towards, step = (part[0].item() for part in checked.directions(*parts, 0.5))

    assert (towards, 2 * step) == pytest.approx((d_or, d_da), abs=5e-6)
    assert asked(toy, w).verdict == verdict


def test_ever_weaker_ridges_drive_ascent_ever_farther_from_retraining():
    found = []
    for decay in (1, 0.1, 0.01, 1e-3, 1e-4):
        w_D, w_R, w_DA = cases.Block(10 / 3, decay=decay).closed
        found.append(w_R - w_DA)
        assert w_D == pytest.approx(w_R)

    assert found == pytest.approx([0.2576, 1.1045, 2.5647, 4.3410, 6.2751], abs=5e-5)


def test_beyond_the_last_stationary_point_only_a_brake_helps():
    assert np.isnan(cases.Block(6).closed[2])
    assert outweighed(np.array([6.0, 4]), np.array([30.0, 60]), 0.5)[0]


def test_correlated_directions_order_retraining_original_and_ascent():
    toy = cases.Correlated()
    oracle, original, ascent = (cases.minimise(loss, [1.0, 1.0]) for loss in (toy.oracle, toy.everything, toy.ascent))

    assert toy.margins(oracle).tolist() == pytest.approx([2.13667, 2.12486], abs=1e-5)
    assert toy.margins(original).tolist() == pytest.approx([2.09840, 2.08792], abs=1e-5)
    assert toy.margins(ascent).tolist() == pytest.approx([1.73191, 1.70604], abs=1e-5)
    assert asked(toy, original).verdict == "refuse"
    assert asked(toy, original, Ascent(0.0, "own")).verdict == "ok"


def test_a_model_away_from_its_optimum_is_not_asked_for_its_first_step():
    check = asked(cases.Correlated(), torch.tensor([0.1, 0.1], dtype=torch.float64))

    assert check.value is None
    assert check.verdict == "ok"


def test_a_ridge_model_is_refused_where_ascent_leads_away_from_retraining():
    data, decay = Split(cases.one_hot([80, 10]), cases.one_hot([8, 2]), cases.one_hot([40, 7])), 1.0

    def optimum(*parts: tuple[float, Rows]) -> torch.Tensor:
        return cases.minimise(
            lambda w: sum(s * cases.cross_entropy(rows, w) for s, rows in parts) + decay / 2 * w.square().sum(), [1, 1]
        )

    original, oracle = optimum((1, cases.joined(data))), optimum((1, data.retain))
    ascended = optimum((1, data.retain), (-1, data.forget))

    found = preflight(cases.Line(original), data, rng=rng(), spec=cases.ridge_spec(decay))

    assert verdicts(found)["G5"] == found.verdict == "refuse"
    assert (oracle - original) @ (ascended - original) < 0
    assert verdicts(preflight(cases.Line(original), data, rng=rng()))["G5"] == "ok"


# ---- the trap -------------------------------------------------------------------------------------------------------


def test_ascent_in_the_trap_ends_where_fine_tuning_does_not_lead_out():
    zero = torch.zeros(2, dtype=torch.float64)
    original = cases.descended(cases.trap(cases.ALL), zero, lr=0.05, steps=400)
    oracle = cases.descended(cases.trap(cases.KEPT), original, lr=0.05, steps=400)
    ascended = cases.descended(cases.trap(cases.ASCENT), original, lr=0.05, steps=400)
    tuned = cases.descended(cases.trap(cases.KEPT), ascended, lr=0.05, steps=400)
    right = [sum(c for c, hit in zip(cases.KEPT, cases.trapped(w).sign() == cases.LABELS, strict=True) if hit)
             for w in (original, oracle, ascended, tuned)]
    away = [(w - oracle).norm().item() for w in (original, ascended, tuned)]

    assert original.tolist() == pytest.approx([2.7778, -0.5734], abs=2e-4)
    assert oracle.tolist() == pytest.approx([2.7191, -0.5931], abs=2e-4)
    assert ascended.tolist() == pytest.approx([2.5930, -1.2785], abs=2e-4)
    assert tuned.tolist() == pytest.approx([2.5892, -1.2709], abs=2e-4)
    assert right == [11, 11, 10, 10]
    assert away == pytest.approx([0.0620, 0.6969, 0.6901], abs=2e-4)


@pytest.mark.parametrize(("guard", "verdict"), [(None, "refuse"), (AscentGuard(), "warn")])
def test_the_trap_is_seen_before_the_run(guard, verdict):
    model = cases.Curve(torch.tensor([2.7778, -0.5734], dtype=torch.float64))
    data = Split(cases.copies([5, 4, 1, 2]), cases.copies([0, 0, 0, 2]), cases.copies([5, 4, 1, 4]))

    found = preflight(model, data, NegGradPlus(beta=12 / 14, guard=guard), rng=rng())

    assert verdicts(found)["G3"] == verdict
    assert found.numbers["G3_cluster_share"] == 1


# ---- as a whole -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "ascent"), [
    (None, Ascent(0.5, "none")), (NegGrad(), Ascent(1.0, "none")), (FineTune(), Ascent(0.0, "own")),
    (NegGradPlus(beta=0.75, guard=AscentGuard()), Ascent(0.25, "guard")),
    (NegGradPlus(beta=0.75, guard=AscentGuard(stop_when_unseen=False)), Ascent(0.25, "none")),
    (NablaTau(alpha0=0.3), Ascent(0.3, "own")), (Scrub(), Ascent(0.5, "none")),
    (Scrub(order="paired", beta=0.75), Ascent(0.25, "none")),
])
def test_a_method_is_known_by_its_share_of_ascent_and_its_brake(method, ascent, split):
    assert checked.ascent_of(method, split) == ascent


def test_the_menu_and_the_checks_agree_on_what_ascends(split):
    for method in (NegGrad(), NegGradPlus(), Scrub(), NablaTau(), FineTune()):
        found = checked.ascent_of(method, split)

        assert (found.share > 0) == (method.ascent != "none")
        assert (found.brake == "own") == (method.ascent != "unbounded")


def test_a_method_that_does_not_ascend_is_never_refused():
    model, data = unknowing(300)

    assert preflight(model, data, FineTune(), rng=rng()).verdict != "refuse"


def test_model_and_rows_are_as_before_and_one_seed_gives_the_same_numbers(original, split):
    model = deepcopy(original).train()
    rows = [part.x.clone() for part in (split.retain, split.forget, split.validation)]

    first, second = (preflight(model, split, rng=rng(4), spec=cases.ridge_spec(0.1)) for _ in range(2))

    assert first == second
    assert model.training
    assert all(w.grad is None for w in model.parameters())
    assert all(map(torch.equal, model.state_dict().values(), original.state_dict().values()))
    assert all(map(torch.equal, rows, (split.retain.x, split.forget.x, split.validation.x)))


@pytest.mark.parametrize("labels", [torch.linspace(0, 1, 120), torch.eye(3).repeat(40, 1)], ids=["values", "sets"])
def test_values_and_sets_of_labels_are_asked_the_same(labels):
    x = torch.randn(120, 4, generator=rng(1))
    rows = Rows(x, labels)
    model = nn.Linear(4, 1 if labels.dim() == 1 else 3)
    nn.init.constant_(model.weight, 0.1)
    data = Split(rows.take(torch.arange(60)), rows.take(torch.arange(60, 90)), rows.take(torch.arange(90, 120)))

    found = preflight(model, data, NablaTau(), rng=rng())

    assert ("G1_accuracy_gap" in found.numbers) == (labels.dim() == 2)
    assert {"G1_loss_gap", "G3_cluster_share", "G4_collateral"} <= found.numbers.keys()


def test_a_split_without_forget_rows_is_refused_in_words(original, split):
    empty = Split(split.retain, split.forget.take(torch.arange(0)), split.validation)

    with pytest.raises(BadInput, match="retain, forget and validation rows"):
        preflight(original, empty, rng=rng())


def test_a_model_whose_loss_is_not_finite_is_refused(original, split):
    model = deepcopy(original)
    next(model.parameters()).data.fill_(float("nan"))

    found = preflight(model, split, NablaTau(), rng=rng())

    assert found.verdict == "refuse"
    assert found.checks[0].name == "G0_finite"
