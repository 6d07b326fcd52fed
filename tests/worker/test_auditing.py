"""The auditor audited: what it must say about models whose leak is known."""

import numpy as np
import pytest
import torch
from torch import nn

from service.errors import BadInput, Cancelled
from tests.worker.audit_cases import QUICK, Cases
from worker.auditing import AuditSets, audit
from worker.metrics import auc
from worker.resampling import pool
from worker.signals import loss


def test_a_model_that_never_saw_the_rows_is_equivalent():
    cases = Cases()

    report = audit(cases.model(2.0), cases.model(), cases.sets, QUICK)

    assert report.verdict.value == "EQUIVALENT_WITHIN_MARGIN"
    assert report.utility.guard == "pass"


def test_doing_nothing_where_nothing_was_memorised_has_no_power():
    cases = Cases()
    before = cases.model(0.02)

    report = audit(before, before, cases.sets, QUICK)

    assert report.verdict.value == "INCONCLUSIVE"
    assert report.verdict.reason_code == "no_power"


def test_over_forgetting_outranks_a_model_before_that_showed_nothing():
    cases = Cases()

    report = audit(cases.model(), cases.model(-2.0), cases.sets, QUICK)

    assert report.verdict.value == "LEAK_DETECTED"


def test_a_persons_many_rows_do_not_count_as_many_persons():
    groups = np.concatenate([np.arange(800) // 40, np.arange(1_000, 4_000)])
    cases = Cases(groups=groups)

    report = audit(cases.model(2.0), cases.model(), cases.sets, QUICK)

    assert report.verdict.reason_code == "underpowered"
    assert report.power.forget_units == 20


def test_the_reference_decides_what_is_normal():
    """Forget rows that are easy for every model are no leak, beside models that never saw them."""
    cases = Cases()
    cases.hard[: cases.n] += 0.5
    references = [cases.model(), cases.model(), cases.model()]

    alone = audit(cases.model(2.0), cases.model(), cases.sets, QUICK)
    beside = audit(cases.model(2.0), cases.model(), cases.sets, QUICK, references=references)

    assert alone.verdict.value == "LEAK_DETECTED"
    assert beside.verdict.value == "EQUIVALENT_WITHIN_MARGIN"
    assert beside.null_basis == "paired_reference"


def test_a_leak_beside_references_is_still_a_leak():
    cases = Cases()

    report = audit(cases.model(2.0), cases.model(1.0), cases.sets, QUICK, references=[cases.model(), cases.model()])

    assert report.verdict.value == "LEAK_DETECTED"
    assert report.controls.oracle.n_total == 2


def test_a_retrained_model_as_far_off_takes_the_leaks_meaning_away():
    cases = Cases()
    references = [cases.model(-0.8), cases.model(), cases.model(0.8)]

    report = audit(cases.model(3.0), cases.model(0.5), cases.sets, QUICK, references=references)

    assert report.verdict.value == "INCONCLUSIVE"
    assert report.controls.oracle.n_passed < 3


def test_the_null_control_passes_where_held_out_rows_are_alike():
    cases = Cases(n=60, m=200, r=20)
    before, after = cases.model(2.0), cases.model()

    plans = [QUICK.model_copy(update={"permutations": 99, "bootstrap": 99, "seed": seed}) for seed in range(40)]
    controls = [audit(before, after, cases.sets, plan).controls.null for plan in plans]

    assert sum(not null.passed for null in controls) <= 3      # 99.9 % of Binomial(40, .01)


def test_a_class_without_holdout_rows_cannot_be_compared():
    cases = Cases()
    holdout = cases.sets.holdout.take(cases.sets.holdout.y == 0)
    sets = AuditSets(cases.sets.forget, holdout, cases.sets.retain)

    report = audit(cases.model(2.0), cases.model(), sets, QUICK)

    assert (report.verdict.value, report.verdict.reason_code) == ("INCONCLUSIVE", "unmatched")
    assert report.heldout.forget_rows_unmatched == int((cases.sets.forget.y == 1).sum())


@pytest.mark.parametrize("m", [0, 1, 19])
def test_a_tiny_holdout_cannot_be_compared_with(m):
    cases = Cases(m=m, seed=1)
    ones = [rows.take(rows.y == 1) for rows in (cases.sets.forget, cases.sets.holdout)]

    report = audit(cases.model(2.0), cases.model(), AuditSets(*ones, cases.sets.retain), QUICK)

    assert report.verdict.value == "INCONCLUSIVE"
    assert report.headline.auc_after is None


def test_classes_are_matched_before_anything_is_compared():
    """One class is easy and rare among the held-out rows: unmatched, that alone would look like memory."""
    cases = Cases()
    cases.hard[cases.y.numpy() == 1] += 3
    keep = (cases.sets.holdout.y == 0) | (torch.arange(len(cases.sets.holdout)) % 5 == 0)
    sets = AuditSets(cases.sets.forget, cases.sets.holdout.take(keep), cases.sets.retain)

    report = audit(cases.model(3.0), cases.model(), sets, QUICK)

    assert report.headline.auc_after == pytest.approx(0.5, abs=0.03)
    assert report.verdict.value != "LEAK_DETECTED"


def test_a_class_forgotten_as_a_whole_is_no_loss_of_utility():
    cases = Cases()
    retain = cases.sets.retain.take(cases.sets.retain.y == 0)
    forget = cases.sets.forget.take(cases.sets.forget.y == 1)
    after = cases.model()
    with torch.no_grad():
        after.logits[:, 1] = -50

    report = audit(cases.model(2.0), after, AuditSets(forget, cases.sets.holdout, retain), QUICK)

    assert report.utility.guard == "pass"
    assert report.utility.forget.after == 0


def test_the_headline_is_the_loss_attack():
    cases = Cases(n=100, m=300)
    before, after = cases.model(1.0), cases.model()

    headline = audit(before, after, cases.sets, QUICK).headline

    f, h = cases.sets.forget, cases.sets.holdout
    z = before.logits.detach().numpy()
    of = pool((f.y.numpy(), h.y.numpy()), (None, None))
    members, others = -loss(z[: len(f)], f.y), -loss(z[len(f) : len(f) + len(h)], h.y)
    assert headline.signal == "loss"
    assert headline.auc_before == pytest.approx(auc(members, others, of.balance[len(f) :]), abs=1e-6)
    assert headline.auc_after_ci[0] <= headline.auc_after <= headline.auc_after_ci[1]


def test_models_and_rows_are_left_as_they_were():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    model[1].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    cases = Cases(n=30, m=60, r=60)
    stream = torch.get_rng_state()

    audit(model, model, cases.sets, QUICK)

    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(stream, torch.get_rng_state())


def test_a_model_that_answers_with_nan_is_refused():
    cases = Cases(n=30, m=60, r=60)
    broken = cases.model()
    with torch.no_grad():
        broken.logits[3] = torch.nan

    with pytest.raises(BadInput, match="NaN or infinity on 1 rows"):
        audit(cases.model(), broken, cases.sets, QUICK)


@pytest.mark.parametrize("name", ["forget", "retain"])
def test_an_empty_set_is_refused_by_name(name):
    cases = Cases(n=30, m=60, r=60)
    parts = {part: getattr(cases.sets, part) for part in ("forget", "holdout", "retain")}
    parts[name] = parts[name].take(torch.arange(0))

    with pytest.raises(BadInput, match=name):
        audit(cases.model(), cases.model(), AuditSets(**parts), QUICK)


def test_who_watches_sees_all_steps_and_may_stop_the_audit():
    cases = Cases(n=30, m=60, r=60)
    seen = []

    def stop(done, total):
        raise Cancelled("enough")

    audit(cases.model(), cases.model(), cases.sets, QUICK, on_step=lambda done, total: seen.append((done, total)))

    assert seen == [(step, seen[-1][1]) for step in range(1, len(seen) + 1)]
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(Cancelled):
        audit(cases.model(), cases.model(), cases.sets, QUICK, on_step=stop)


def test_labels_of_a_single_person_do_not_enter_the_report():
    cases = Cases(n=3, groups=np.concatenate([[7, 7, 7], np.arange(100, 3_100)]))

    report = audit(cases.model(2.0), cases.model(), cases.sets, QUICK)

    assert report.forget_set.class_histogram is None
    assert report.loss_histogram is None


def test_histograms_count_every_row_on_one_scale():
    cases = Cases(n=200)

    drawn = audit(cases.model(2.0), cases.model(), cases.sets, QUICK).loss_histogram

    assert sum(drawn.forget_before) == sum(drawn.forget_after) == 200
    assert sum(drawn.holdout_after) == pytest.approx(200, abs=0.01)


def test_an_exact_claim_says_what_carries_it():
    cases = Cases(n=30, m=60, r=60)

    exact, approximate = (
        audit(cases.model(), cases.model(), cases.sets, QUICK, claim=claim) for claim in ("exact", "approximate")
    )

    assert len(exact.verdict.not_claimed) == len(approximate.verdict.not_claimed) + 1
