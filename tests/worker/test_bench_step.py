"""What a step costs: measured between steps of the floor."""

import json

import pytest
import torch

from worker.bench.step import Pace, Size, bench, cases, pace
from worker.cli import app
from worker.registry import mask as masks
from worker.registry import method as methods
from worker.training import build


class Clock:
    """Time passes as told."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += seconds


def test_a_step_is_timed_between_two_of_the_floor():
    clock, floors = Clock(), iter([1.0, 3.0, 1.0, 5.0])
    timed = Pace(lambda: clock.forward(next(floors)), clock)

    for done, seconds in enumerate([9.0, 4.0, 6.0, 3.0], start=1):
        clock.forward(seconds)
        timed(done, 4)

    assert timed.floor_ms == [1000, 3000, 1000, 5000]
    assert timed.ms == [4000, 6000, 3000]                # the first is not counted
    assert timed.ratio() == 2                            # the median of 4/2, 6/2, 3/3


def test_a_machine_that_slows_down_changes_no_ratio():
    clock, floors = Clock(), iter([1.0, 2.0, 3.0, 4.0])
    timed = Pace(lambda: clock.forward(next(floors)), clock)

    for done, slowness in enumerate([0.5, 1.5, 2.5, 3.5], start=1):
        clock.forward(1.2 * slowness)
        timed(done, 4)

    assert timed.ratio() == pytest.approx(1.2)


def test_every_method_that_takes_steps_is_measured_under_every_mask_that_it_takes():
    found = {(case.method, case.mask) for case in cases(256)}

    stepping = [recipe for recipe in methods.recipes() if "batch" in recipe.model_fields and recipe.__name__ != "Ssd"]
    assert {method for method, _ in found} == {recipe.model_fields["name"].default for recipe in stepping}
    named = {mask.split("-")[0] for method, mask in found if method == "nabla_tau"}
    assert named == set(masks.names())
    assert {"saliency-global", "saliency-batch"} <= {mask for _, mask in found}


@pytest.mark.parametrize("case", [case for case in cases(16) if case.mask == "none"], ids=lambda case: case.method)
def test_a_step_has_the_same_rows_in_all_whatever_the_method(case):
    size, seen = Size(batch=16, width=1, side=8, repeats=2), list[int]()
    model = build(size.spec(), torch.Generator().manual_seed(0)).eval()
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0]) * torch.is_grad_enabled()))
    by_step = list[int]()

    pace(case, model, size, lambda: (by_step.append(sum(seen)), seen.clear()))

    assert by_step == [16, 16, 16]


def test_the_benchmark_prints_the_keys_of_the_design(capsys):
    app(["bench", "step", "--json", "--quick", "--threads", "1", "--only", "nabla_tau"], result_action="return_value")
    found = json.loads(capsys.readouterr().out)

    assert {"floor_ms", "rows", "device", "threads", "batch"} <= found.keys()
    assert all({"method", "mask", "ms", "ratio"} <= row.keys() for row in found["rows"])
    assert all(row["ms"] > 0 and row["ratio"] > 0 for row in found["rows"])
    assert [row["mask"] for row in found["rows"]] == [case.mask for case in cases(256, ["nabla_tau"])]


def test_the_benchmark_is_a_table_for_the_eye(capsys):
    app(["bench", "step", "--quick", "--threads", "1", "--only", "fine_tune"], result_action="return_value")

    assert "fine_tune" in capsys.readouterr().out


@pytest.mark.slow
def test_every_method_and_mask_can_be_measured():
    found = bench(Size(batch=8, width=1, side=8, repeats=1))

    assert len(found["rows"]) == len(list(cases(8)))
