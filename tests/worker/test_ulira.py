"""U-LiRA: shadows are dealt, trained and unlearned as said, and what they say together is what can be seen in them."""

from itertools import product

import numpy as np
import pytest
import torch

from service.domain.recipe_audits import RecipePlan, recipe_sha256
from service.domain.recipes import FineTune, Mlp, Retrain, Spec, Training, Vector
from service.errors import BadInput, Cancelled
from tests.worker.conftest import noisy
from worker.concluding import Shadows, conclude, holm, signed_ranks
from worker.data import Rows, Split
from worker.dealing import deal
from worker.inference import accuracy, logits
from worker.signals import confidence
from worker.training import train
from worker.ulira import chunks, work, works
from worker.unlearning import unlearn

ROWS, VALIDATION, HOLDOUT = noisy(240, seed=1), noisy(100, seed=2), noisy(300, seed=3)
SPEC = Spec(family=Mlp(hidden=(32,)), training=Training(epochs=40, batch=32), input=Vector(features=12), classes=2)
TUNE = FineTune(passes=1, batch=64)
PLAN = RecipePlan(method=TUNE, shadows=8, forget=0.15, chunk=4)


@pytest.fixture(scope="module")
def part():
    return work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(8))


def test_the_two_of_a_pair_share_the_pool_and_no_person_is_in_both():
    dealt = deal(ROWS, PLAN)

    assert dealt.persons == 36          # twice 15 % of 120
    assert len(dealt.pool) + len(dealt.rest) == 240
    for pair in range(4):
        a, b = dealt.included(2 * pair), dealt.included(2 * pair + 1)
        assert (a ^ b).all()
        assert not set(dealt.units[a]) & set(dealt.units[b])
        assert set(ROWS.groups[dealt.half(2 * pair)].tolist()).isdisjoint(ROWS.groups[dealt.rest].tolist())
    assert not np.array_equal(dealt.included(0), dealt.included(2))
    assert len({dealt.seed(i) for i in range(8)}) == 8


def test_a_shadow_is_trained_and_unlearned_by_the_production_code(part):
    dealt = deal(ROWS, PLAN)
    pool = ROWS.take(dealt.pool)
    for i in (0, 5):
        half, seed = dealt.pool[part["included"][i]], dealt.seed(i)
        before = train(SPEC.seeded(seed), ROWS.take(torch.cat([dealt.rest, half]).sort().values))
        after = unlearn(
            before, Split(ROWS.take(dealt.rest), ROWS.take(half), VALIDATION), TUNE,
            rng=torch.Generator().manual_seed(seed),
        ).model

        for name, model in (("before", before), ("after", after)):
            phi = confidence(logits(model, pool).numpy(), pool.y.numpy())
            assert part[f"phi_{name}"][i].numpy() == pytest.approx(phi, abs=1e-2)
            assert part[f"accuracy_{name}"][i].item() == pytest.approx(accuracy(model, HOLDOUT), abs=0.01)


def test_a_chunk_of_the_plan_gives_the_same_bits_alone(part):
    alone = work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(4, 8))

    for name in ("phi_before", "phi_after", "accuracy_after", "included"):
        assert torch.equal(alone[name], part[name][4:])


def test_several_methods_share_the_shadows(part):
    both = works(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(8), [TUNE, Retrain()])

    assert torch.equal(both[0]["phi_after"], part["phi_after"])
    assert torch.equal(both[1]["phi_before"], part["phi_before"])


def test_retraining_at_once_is_retraining():
    made = work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN.model_copy(update={"method": Retrain()}), range(2))
    dealt = deal(ROWS, PLAN)
    model = train(SPEC.seeded(dealt.seed(1)), ROWS.take(dealt.rest))
    pool = ROWS.take(dealt.pool)

    phi = confidence(logits(model, pool).numpy(), pool.y.numpy())

    assert made["phi_after"][1].numpy() == pytest.approx(phi, abs=1e-2)


def test_chunks_end_where_the_plans_do():
    assert chunks(range(8), 4) == [range(4), range(4, 8)]
    assert chunks(range(3, 9), 4) == [range(3, 4), range(4, 8), range(8, 9)]
    assert chunks(range(5, 6), 16) == [range(5, 6)]


def test_whoever_watches_is_told_and_may_stop():
    told = []
    work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(2), on_step=lambda *step: told.append(step))

    assert told[-1] == (4, 4)
    assert told == sorted(told)

    def stop(done, _):
        if done >= 2:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(2), on_step=stop)


@pytest.mark.slow
def test_doing_little_is_seen_and_retraining_is_not():
    plan = PLAN.model_copy(update={"shadows": 24, "chunk": 24})
    tuned, retrained = works(SPEC, ROWS, VALIDATION, HOLDOUT, plan, range(24), [TUNE, Retrain()])
    reports = [conclude([made], plan, spec=SPEC, dataset_sha256=None) for made in (tuned, retrained)]

    assert reports[0].before == reports[1].before
    assert reports[0].before.auc > 0.7
    assert reports[0].after.auc_ci95[0] > 0.55
    assert reports[0].before.epsilon.value > 0.5
    low, high = reports[1].after.auc_ci95
    assert low < 0.5 < high
    assert reports[1].after.epsilon.value == 0
    assert "find" in reports[1].statement
    assert "traces of forgotten rows are left" in reports[0].statement


def test_the_report_is_the_same_bytes_whoever_made_the_parts(part):
    parts = [{name: t if name == "units" else t[a:b] for name, t in part.items()} for a, b in ((4, 8), (0, 4))]

    whole = conclude([part], PLAN, spec=SPEC, dataset_sha256="ab")

    assert conclude(parts, PLAN, spec=SPEC, dataset_sha256="ab").model_dump_json() == whole.model_dump_json()
    assert (whole.n_rows, whole.n_persons, whole.n_in_unlearned, whole.n_out) == (72, 36, 4, 4)
    assert whole.recipe_sha256 == recipe_sha256("ab", SPEC, TUNE)
    assert whole.after.klom is None
    assert "deleted" not in whole.statement


def test_the_key_of_a_recipe_knows_rows_spec_and_method_but_no_seed():
    keys = {
        recipe_sha256("ab", SPEC, TUNE), recipe_sha256("ac", SPEC, TUNE), recipe_sha256("ab", SPEC, Retrain()),
        recipe_sha256("ab", SPEC.model_copy(update={"classes": 3}), TUNE),
    }

    assert len(keys) == 4
    assert recipe_sha256("ab", SPEC.seeded(7), TUNE) == recipe_sha256("ab", SPEC, TUNE)


def test_missing_and_foreign_parts_are_refused(part):
    first = {name: t if name == "units" else t[:4] for name, t in part.items()}
    with pytest.raises(BadInput, match="each once"):
        conclude([first], PLAN, spec=SPEC, dataset_sha256=None)
    with pytest.raises(BadInput, match="each once"):
        conclude([part, first], PLAN, spec=SPEC, dataset_sha256=None)
    with pytest.raises(BadInput, match="different pools"):
        conclude([first, part | {"units": part["units"] + 1}], PLAN, spec=SPEC, dataset_sha256=None)
    with pytest.raises(BadInput, match="no shadows"):
        conclude([], PLAN, spec=SPEC, dataset_sha256=None)


def synthetic(N=16, n=100, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.random((N // 2, n)) < 0.5
    included = np.stack([first, ~first], axis=1).reshape(N, n)
    phi = rng.normal(0, 2, n) + rng.normal(size=(N, n)) + shift * included
    return Shadows(PLAN.model_copy(update={"shadows": N}), phi, included, np.arange(n))


def test_epsilon_is_claimed_of_nothing_in_no_more_audits_than_alpha():
    claims = [synthetic(N=8, n=60, seed=seed)._epsilon().value > 0 for seed in range(200)]

    assert sum(claims) <= 18        # of Bin(200, .05) 99 % are at most this


def test_a_large_trace_has_a_large_epsilon_and_klom_where_there_are_models_enough():
    found = synthetic(N=64, shift=6.0).seen

    assert found.auc > 0.99
    assert found.epsilon.value == found.epsilon.ceiling > 4
    assert found.per_example.n_significant_holm == 100
    assert found.per_example.epsilon.value == found.per_example.epsilon.ceiling == pytest.approx(1.35, abs=0.01)
    assert 0 < found.per_example.smallest_possible_p <= found.per_example.smallest_p < 1e-6
    assert found.klom.excess > 3


def test_over_forgetting_is_seen():
    found = synthetic(N=32, shift=-3.0).seen

    assert found.auc > 0.95             # likelihoods know no direction
    assert found.per_example.auc_quantiles[3] < 0.1


def test_a_model_that_says_the_same_of_all_rows_gives_nothing_away():
    shadows = synthetic()
    found = Shadows(shadows.plan, np.zeros_like(shadows.phi), shadows.included, shadows.units).seen

    assert found.auc == 0.5
    assert found.per_example.smallest_p == 1
    assert found.epsilon.value < 0.5


def test_the_p_value_of_a_row_is_the_share_of_coins_as_extreme():
    differences = np.random.default_rng(0).normal(0.6, 1, size=(9, 4))
    ranks = np.argsort(np.argsort(np.abs(differences), axis=0), axis=0) + 1
    signs = np.array(list(product([-1, 1], repeat=9)))
    for row in range(4):
        seen = abs((np.sign(differences[:, row]) * ranks[:, row]).sum())
        share = np.mean(np.abs(signs @ ranks[:, row]) >= seen)

        assert signed_ranks(differences)[row] == pytest.approx(share)


def test_holm_rejects_as_long_as_the_next_one_pays_for_those_left():
    assert holm(np.array([0.001, 0.01, 0.03, 0.04]), 0.05) == 2     # at most .05/4, .05/3; .03 is above .05/2
    assert holm(np.array([0.001, 0.01, 0.025, 0.05]), 0.05) == 4
    assert holm(np.array([0.2, 0.3]), 0.05) == 0


@pytest.mark.parametrize(("change", "said"), [({"forget": 0.6}, "nobody"), ({"forget": 0.01}, "needs 20")])
def test_pools_that_say_nothing_are_refused(change, said):
    with pytest.raises(BadInput, match=said):
        deal(ROWS, PLAN.model_copy(update=change))


def test_work_that_is_not_in_the_plan_is_refused():
    with pytest.raises(BadInput, match="shadows 0 … 7"):
        work(SPEC, ROWS, VALIDATION, HOLDOUT, PLAN, range(4, 9))
    values = Spec(family=Mlp(), input=Vector(features=12), task="regression", classes=1)
    with pytest.raises(BadInput, match="regression"):
        work(values, Rows(ROWS.x, ROWS.x[:, 0]), VALIDATION, HOLDOUT, PLAN, range(8))
