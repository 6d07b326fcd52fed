"""Validation rows that were trained on are refused; rows that are alike by chance are not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadInput
from tests.worker.conftest import noisy, rng
from worker.data import Rows, Split
from worker.overlap import fingerprint, prints, refuse_overlap

ROOT = Path(__file__).parents[2]


def numbers(*values: int, label: int = 0) -> Rows:
    return Rows(torch.tensor(values, dtype=torch.float32)[:, None], torch.full((len(values),), label))


def test_unseen_rows_pass(split):
    refuse_overlap(split)


@pytest.mark.parametrize("part", ["retain", "forget"])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_validation_rows_of_either_part_are_refused(part, share, split):
    seen = getattr(split, part)
    met = int(share * 40)
    parts = [seen.take(torch.arange(met)), split.validation.take(torch.arange(met, 40))]
    mixed = Rows(torch.cat([p.x for p in parts]), torch.cat([p.y for p in parts]))

    with pytest.raises(BadInput, match=f"{share:.0%} of the validation rows"):
        refuse_overlap(Split(split.retain, split.forget, mixed))


def test_the_same_row_with_another_label_is_another_row():
    refuse_overlap(Split(numbers(1, 2, 3), numbers(4), numbers(1, 2, label=1)))


def test_a_table_of_few_values_is_alike_by_chance():
    g = rng()
    rows = Rows(torch.randint(3, (150, 2), generator=g).float(), torch.randint(2, (150,), generator=g))

    refuse_overlap(Split(*(rows.take(part) for part in torch.arange(150).split([80, 20, 50]))))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=20))
def test_two_rows_have_one_print_if_they_are_one(pairs):
    x, y = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = prints(Rows(x.float()[:, None], y))

    assert [[a == b for b in pairs] for a in pairs] == [[a == b for b in found] for a in found]


def test_a_fingerprint_changes_with_every_bit_and_the_order():
    rows = noisy(20, seed=1)
    others = [
        rows.take(torch.arange(19, -1, -1)), rows.take(torch.arange(19)), Rows(rows.x, 1 - rows.y),
        Rows(rows.x + 1e-6, rows.y), Rows(rows.x.double(), rows.y), Rows(rows.x.reshape(20, 3, 4), rows.y),
    ]  # fmt: skip

    assert fingerprint(rows) == fingerprint(noisy(20, seed=1))
    assert len({fingerprint(each) for each in (rows, *others)}) == 7


def test_a_fingerprint_is_the_same_in_another_process():
    imports = "from tests.worker.conftest import noisy; from worker.overlap import fingerprint"
    code = f"{imports}; print(fingerprint(noisy(9, 1)).hex())"

    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert told.strip() == fingerprint(noisy(9, 1)).hex()
