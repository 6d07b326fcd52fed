"""Rung 0: digests, distances, and the loss on the straight line between two models."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from service.domain.recipes import FineTune
from service.errors import BadInput
from tests.worker.audit_cases import QUICK
from worker.auditing import AuditSets, audit
from worker.checkpoint import digest
from worker.data import Rows
from worker.inference import logits
from worker.lineage import Lineage, between, distances, hashed


@pytest.fixture(scope="module")
def sets(split) -> AuditSets:
    return AuditSets(split.forget, split.validation, split.retain)


def moved(model: nn.Module, by: float) -> nn.Module:
    out = copy.deepcopy(model)
    with torch.no_grad():
        for w in out.parameters():
            w += by
    return out


def subject(before, after, sets, **kw):
    return audit(before, after, sets, QUICK, **kw).subject


def test_the_distance_is_the_length_of_all_differences(original):
    n = sum(w.numel() for w in original.parameters())

    far, size = distances(original, moved(original, 0.5))

    assert far == pytest.approx(0.5 * n**0.5, rel=1e-5)
    assert size == pytest.approx(torch.cat([w.flatten() for w in original.parameters()]).norm().item(), rel=1e-5)


def test_a_model_that_did_not_move_has_no_distance_and_no_barrier(original, sets):
    found = subject(original, original, sets)

    assert (found.weight_distance, found.weight_distance_relative, found.path_barrier) == (0, 0, 0)
    assert found.model_before_sha256 == found.model_after_sha256 == digest(original)


def test_the_barrier_is_that_of_a_loop_written_out(original, sets):
    other = copy.deepcopy(original)
    with torch.no_grad():       # hidden units in another order and of another sign: the same kind of answers
        first, last = (m for m in other.modules() if isinstance(m, nn.Linear))
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        first.weight.copy_(first.weight[order])
        first.bias.copy_(first.bias[order])
        last.weight.copy_(last.weight[:, order])
    seen = []
    for t in np.linspace(0, 1, 11):
        point = copy.deepcopy(original)
        for w, a, b in zip(point.parameters(), original.parameters(), other.parameters(), strict=True):
            w.data = (1 - t) * a.data + t * b.data
        seen.append(nn.functional.cross_entropy(logits(point, sets.retain), sets.retain.y).item())

    found = subject(original, other, sets)

    assert found.path_barrier > 0.1
    assert found.path_barrier == pytest.approx(max(seen) - max(seen[0], seen[-1]), abs=1e-4)


def test_running_statistics_go_along_and_counts_stay():
    a, b = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    b.running_mean += 4
    b.num_batches_tracked += 7

    point = between(a.state_dict(), b.state_dict(), 0.25)

    assert point["running_mean"].tolist() == [1, 1]
    assert point["num_batches_tracked"] == 0


def test_models_of_other_shapes_have_neither_distance_nor_barrier(original, sets):
    pruned = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)).eval()

    found = subject(original, pruned, sets)

    assert (found.weight_distance, found.weight_distance_relative, found.path_barrier) == (None, None, None)


def test_what_the_caller_knows_is_told_and_nothing_is_guessed(original, sets, spec):
    known = Lineage(method=FineTune(), dataset_sha256="d", index_commitment="i", absent_from_training=True)

    told, silent = subject(original, original, sets, lineage=known, spec=spec), subject(original, original, sets)

    assert (told.algorithm, told.algorithm_config_sha256) == ("fine_tune", hashed(FineTune()))
    assert (told.recipe_sha256, told.index_commitment, told.absent_from_training) == (hashed(spec), "i", True)
    assert {silent.algorithm, silent.recipe_sha256, silent.dataset_sha256, silent.absent_from_training} == {None}


def test_the_rows_are_drawn_alike_each_time(original, sets):
    other = moved(original, 0.05)

    assert subject(original, other, sets) == subject(original, other, sets)


def test_models_of_other_outputs_cannot_be_compared(original, sets):
    other = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()

    with pytest.raises(BadInput, match=r"number of outputs: \[2, 5\]"):
        subject(original, other, sets)


def test_what_is_no_classification_is_refused(original, split):
    values = [Rows(rows.x, rows.y.float()) for rows in (split.forget, split.validation, split.retain)]

    with pytest.raises(BadInput, match="regression"):
        subject(original, original, AuditSets(*values))
