"""MIA-NN: a model that silences a class is told from one that never knew it."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from service.domain.recipes import ClassRouting
from tests.worker.audit_sides import case, labels, side
from worker.attacks.mia_nn import Removal, mia_nn, neighbour
from worker.routing import apart, halves, histogram, separability, total_variation

CLASSES, FORGOTTEN, NEAR = 5, 0, 1
B = ClassRouting()


def logits(y, rng, *, knows=False, spread=False):
    """Who never knew class 0 sees it as class 1; who knows it sees class 0; who spreads it sees any other class."""
    z = rng.normal(size=(len(y), CLASSES))
    seen = np.where(y == FORGOTTEN, NEAR, y)
    if knows:
        seen = y
    elif spread:
        seen = np.where(y == FORGOTTEN, rng.integers(1, CLASSES, len(y)), y)
    z[np.arange(len(y)), seen] += 5
    z[:, FORGOTTEN] -= 0 if knows else 20
    return z


def made(after="never", k=4, seed=0, n=400, groups=None):
    """Rows of every class in the holdout; the forget set is class 0 as a whole."""
    rng = np.random.default_rng(seed)
    kinds = {"never": {}, "nothing": {"knows": True}, "spread": {"spread": True}}

    def rows(y, g=None):
        models = [logits(y, rng, knows=True), logits(y, rng, **kinds[after]), *(logits(y, rng) for _ in range(k))]
        return side(models, y, g)

    forget = rows(np.full(100, FORGOTTEN), groups)
    return case(forget, rows(labels(n, rng, CLASSES)), rows(rng.integers(1, CLASSES, 300)))


def found(of, recipe=B):
    return mia_nn(of, recipe).class_removal[0]


@pytest.mark.parametrize("recipe", [
    B, ClassRouting(feature="probabilities"), ClassRouting(reading="routing"),
    ClassRouting(reading="routing", feature="probabilities"),
])
def test_a_retrained_model_routes_as_retrained_ones_do(recipe):
    own = found(made(), recipe)

    assert (own.label, own.neighbour) == (FORGOTTEN, NEAR)
    assert own.gap < 3 * own.gap_references + 0.05
    assert own.total_variation < 0.1
    assert own.routing["1"] > 0.9


@pytest.mark.parametrize("recipe", [B, ClassRouting(feature="probabilities"), ClassRouting(reading="routing")])
@pytest.mark.parametrize("after", ["nothing", "spread"])
def test_a_class_that_is_only_silenced_or_still_known_is_seen(recipe, after):
    own = found(made(after), recipe)

    assert own.gap > 0.2
    assert own.gap > 5 * own.gap_references
    assert own.total_variation > 0.5 > own.total_variation_references


def test_a_model_that_still_knows_the_class_sends_its_rows_there():
    own = found(made("nothing"))

    assert own.routing["0"] > 0.9
    assert "0" not in own.routing_reference
    assert sum(own.routing.values()) == pytest.approx(1, abs=1e-5)


def test_separability_is_what_its_definition_says():
    rng = np.random.default_rng(1)
    y = np.repeat([1, 0], 60)
    x, half = rng.normal(size=(120, 3)) + y[:, None], rng.permutation(120) % 2

    judged = []
    for a, b in ((0, 1), (1, 0)):
        scale = StandardScaler().fit(x[half == a])
        svm = SVC(kernel="rbf", C=3, gamma="scale").fit(scale.transform(x[half == a]), y[half == a])
        judged.append(balanced_accuracy_score(y[half == b], svm.predict(scale.transform(x[half == b]))))

    assert separability(x, y, half) == pytest.approx(np.mean(judged))


def test_the_forgotten_column_is_no_feature():
    of = made("nothing")
    for z in (part for each in (of.forget, of.holdout, of.retain) for part in each.logits):
        z[:, FORGOTTEN] = -50.0

    assert found(of).accuracy == found(made("nothing")).accuracy
    assert Removal.of_case(of, B, FORGOTTEN).feature(of.holdout, 1).shape == (400, CLASSES - 1)


def test_logits_are_centred_so_a_constant_in_a_row_says_nothing():
    of, moved = made("spread"), made("spread")
    for part in (moved.forget, moved.holdout, moved.retain):
        for z in part.logits:
            z += np.where(part.y == FORGOTTEN, 30.0, 0.0)[:, None]

    assert found(moved).accuracy == pytest.approx(found(of).accuracy, abs=1e-9)


def test_the_neighbour_is_where_references_send_the_rows_and_the_audited_has_no_say():
    y = np.zeros(10, int)
    to = [np.eye(3)[[c] * 10] * 9.0 for c in (0, 2, 2, 2, 1, 1)]

    assert neighbour(side(to, y), np.array([1, 2])) == 1          # a tie: the smaller
    assert neighbour(side([*to, to[2]], y), np.array([1, 2])) == 2


def test_histograms_and_their_distance_by_hand():
    p = histogram(np.array([[1.0, 0, 0], [0, 2, 0], [0, 3, 0], [0, 0, 1]]))

    assert p.tolist() == [0.25, 0.5, 0.25]
    assert total_variation(p, np.array([1.0, 0, 0])) == 0.75
    assert apart([np.array(v) for v in (0.0, 1.0, 5.0)], lambda a, b: abs(a - b)) == pytest.approx((3 + 1.5 + 4.5) / 3)


def test_persons_are_dealt_whole():
    units = np.repeat(np.arange(40), 5)
    half = halves(np.tile([0, 1], 100), units, np.random.default_rng(0))

    assert all(len(set(half[units == u])) == 1 for u in range(40))
    assert half.sum() == 100


def test_rows_are_dealt_where_one_person_has_them_all():
    half = halves(np.tile([0, 1], 30), np.zeros(60, int), np.random.default_rng(0))

    assert len(np.unique(half)) == 2


def test_a_class_that_is_still_taught_is_no_removal():
    of = made()
    taught = case(of.forget, of.holdout, side(of.retain.logits, np.where(np.arange(300) < 3, FORGOTTEN, of.retain.y)))

    result = mia_nn(taught, B)

    assert result.class_removal == ()
    assert "as a whole" in result.skipped[0].reason


def test_a_class_without_test_rows_is_skipped_with_a_count():
    of = made()
    few = of.holdout.take(np.concatenate([np.flatnonzero(of.holdout.y), np.flatnonzero(of.holdout.y == 0)[:7]]))

    result = mia_nn(case(of.forget, few, of.retain), B)

    assert result.class_removal == ()
    assert "there are 7 of class 0" in result.skipped[0].reason


def test_a_class_of_very_few_persons_is_not_named():
    result = mia_nn(made(groups=np.arange(100) % 4), B)

    assert result.class_removal == ()
    assert "class 0" not in result.skipped[0].reason


def test_with_one_class_left_there_is_nothing_to_tell_apart():
    of = made()
    result = mia_nn(case(of.forget, of.holdout, side(of.retain.logits, np.ones(300, int))), B)

    assert "fewer than two" in result.skipped[0].reason


def test_the_same_case_gives_the_same_value():
    assert found(made("spread")) == found(made("spread"))
