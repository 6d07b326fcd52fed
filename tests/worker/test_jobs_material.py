"""Which rows a job trains on, forgets, and is audited with: brute force over a few rows is the judge."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from service.db.tables import HOLDOUT, TRAIN, VALIDATION
from service.domain.policy import AuditPlan, Policy
from worker.data import Rows, load_tensors
from worker.jobs.material import Plan, _cut

row = st.tuples(st.sampled_from([TRAIN, VALIDATION, HOLDOUT]), st.integers(0, 5))      # split, person
label = st.integers(0, 2)
N = 12
POPULATION = {"name": "population"}


def plan(rows: list[tuple[int, int]], forget: set[int], forgotten: set[int]) -> Plan:
    unused: Any = None
    return Plan(
        model=unused, dataset=unused, spec=unused, policy=Policy(), kinds={"samples"}, forget=sorted(forget),
        forgotten=forgotten,
        splits=[split for split, _ in rows], groups=[person for _, person in rows],
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[tuple[int, int]], set[int], set[int]]:
    rows = draw(st.lists(row, min_size=N, max_size=N))
    train = [number for number, (split, _) in enumerate(rows) if split == TRAIN]
    some = st.sets(st.sampled_from(train)) if train else st.just(set[int]())
    return rows, draw(some), draw(some)


def numbers(part: Rows) -> set[int]:
    """The numbers of the rows, which are written into their only feature."""
    return {int(x) for x in part.x[:, 0]}


@given(world=worlds(), labels=st.lists(label, min_size=N, max_size=N))
def test_every_row_is_where_its_split_its_person_and_its_class_put_it(
    world: tuple[list[tuple[int, int]], set[int], set[int]], labels: list[int]
) -> None:
    rows, forget, forgotten = world
    everything = Rows(torch.arange(N).float()[:, None], torch.tensor(labels))

    cut = _cut(everything, plan(rows, forget, forgotten))

    gone = {rows[number][1] for number in forget | forgotten}
    of_others = {n for n, (_, person) in enumerate(rows) if person not in gone}
    in_split = {split: {n for n, each in enumerate(rows) if each[0] == split} for split in (TRAIN, VALIDATION, HOLDOUT)}
    retain = in_split[TRAIN] - forget - forgotten
    taught = {n for n in range(N) if labels[n] in {labels[kept] for kept in retain}}
    assert numbers(cut.forget) == forget
    assert numbers(cut.retain) == retain
    assert numbers(cut.validation) == in_split[VALIDATION] & of_others & taught
    assert numbers(cut.holdout) == in_split[HOLDOUT] & of_others


@given(world=worlds())
def test_what_was_forgotten_is_never_learned_again(world: tuple[list[tuple[int, int]], set[int], set[int]]) -> None:
    rows, forget, forgotten = world
    everything = Rows(torch.arange(N).float()[:, None], torch.zeros(N, dtype=torch.long))

    cut = _cut(everything, plan(rows, forget, forgotten))

    assert not numbers(cut.retain) & (forget | forgotten)
    assert not numbers(cut.audit_sets(AuditPlan()).holdout) & numbers(cut.split.retain)


@given(world=worlds())
def test_rows_that_stay_in_their_file_are_cut_alike(world: tuple[list[tuple[int, int]], set[int], set[int]]) -> None:
    rows, forget, forgotten = world
    everything = Rows(torch.arange(N).float()[:, None], torch.arange(N) % 3)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        save_file({"x": torch.arange(N).float()[:, None], "y": everything.y}, path)
        in_file = load_tensors(path, resident_mb=0)

    ours, theirs = (_cut(each, plan(rows, forget, forgotten)) for each in (in_file, everything))

    for name in ("retain", "forget", "validation", "holdout"):
        part, same = getattr(ours, name), getattr(theirs, name)
        assert torch.equal(part.x[:], same.x)
        assert torch.equal(part.y, same.y)


@given(world=worlds())
def test_what_the_models_before_knew_is_what_stays_and_what_goes(
    world: tuple[list[tuple[int, int]], set[int], set[int]]
) -> None:
    rows, forget, forgotten = world

    task = plan(rows, forget, forgotten)

    assert set(task.retained) == {n for n, (split, _) in enumerate(rows) if split == TRAIN} - forget - forgotten
    assert task.retained == sorted(task.retained)


def test_the_population_is_there_for_the_rungs_that_compare_with_it_and_canaries_are_cut_out() -> None:
    rows = [(TRAIN, n) for n in range(6)] + [(VALIDATION, 6), (VALIDATION, 7), (HOLDOUT, 8), (3, 9), (3, 10), (3, 11)]
    everything = Rows(torch.arange(N).float()[:, None], torch.zeros(N, dtype=torch.long))

    cut = _cut(everything, replace(plan(rows, {0, 1}, set()), canaries=([1], [9, 10])))

    compared, plain = AuditPlan.model_validate({"rungs": [POPULATION, {"name": "reference"}]}), AuditPlan()
    population, pair = cut.audit_sets(compared).population, cut.audit_sets(plain).canaries
    assert cut.audit_sets(plain).population is None
    assert population is not None
    assert pair is not None
    assert numbers(population) == {6, 7}
    assert [numbers(part) for part in pair] == [{1}, {9, 10}]
    assert {n for part in (cut.retain, cut.validation, cut.holdout) for n in numbers(part)}.isdisjoint({9, 10, 11})
