"""Texts, values and several labels from a Parquet file to a model that forgets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Generator

from service.domain.recipes import AdamW, NablaTau, Spec, TextTransformer, Tokens, Training, Vector
from service.domain.words import numbers
from service.errors import BadInput, InvalidDataset
from worker.bench.sources import load
from worker.data import Rows, Split, read_parquet
from worker.inference import accuracy, at_once, logits, losses
from worker.sources import read
from worker.training import build, train
from worker.unlearning import unlearn

TEXTS = ["A dull film.", "a bright , warm film", "dull and long"]
SMALL = Tokens(length=5, vocabulary=40)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str = "texts", **changed: Any) -> Path:
        n = len(changed.get("text", TEXTS))
        columns = {"sample_id": list(map(str, range(n))), "split": ["train"] * n, "label": [0, 1, 0], "text": TEXTS}
        pq.write_table(pa.table(columns | changed), tmp_path / f"{name}.parquet")
        return tmp_path / f"{name}.parquet"

    return write


def lists(*rows: object) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float64()))


# ---- from the file --------------------------------------------------------------------------------------------------


def test_texts_become_numbers_of_words(write):
    rows, _ = read_parquet(write(), tokens=SMALL)

    assert rows.x.dtype == torch.int32
    assert rows.x.flatten().tolist() == numbers(TEXTS, SMALL)[0].tolist()


def test_a_text_beside_vectors_is_a_remark(write):
    rows, _ = read_parquet(write(features=lists([1, 2], [3, 4], [5, 6])))

    assert rows.x.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("label", "dtype", "wanted"),
    [
        (pa.array([2, 0, 1], pa.int8()), torch.int64, [2, 0, 1]),
        (pa.array([2.5, 0, -1]), torch.float32, [2.5, 0, -1]),
        (lists([0, 1], [1, 1], [0, 0]), torch.float32, [[0, 1], [1, 1], [0, 0]]),
        (pa.array([[0, 1], [1, 1], [0, 0]], pa.list_(pa.int32(), 2)), torch.float32, [[0, 1], [1, 1], [0, 0]]),
    ],
)
def test_the_type_of_a_label_tells_the_task(write, label, dtype, wanted):
    rows, _ = read_parquet(write(label=label))

    assert rows.y.dtype == dtype
    assert rows.y.tolist() == wanted


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"text": ["a", None, None]}, "rows without a text: 2"),
        ({"text": ["a", " ", "b"]}, "texts without a word: 1"),
        ({"text": [1, 2, 3]}, "is not text"),
        ({"text": pa.Array.from_buffers(pa.string(), 3, pa.array([b"\xff\xfe", b"a", b"b"]).buffers())}, "not text"),
        ({"label": [0, None, 1]}, "rows without a label: 1"),
        ({"label": [0.5, float("nan"), float("inf")]}, "NaN or infinite: 2"),
        ({"label": lists([0, 1], [1], [0, 0])}, "differ in length"),
        ({"label": lists([0, 1], None, [0, 0])}, "rows without a label: 1"),
        ({"label": lists([0, 1], [2, -1], [0, 0])}, "outside 0 … 1: 2"),
        ({"label": ["a", "b", "c"]}, "labels are integers"),
        ({"features": lists([0, 1], [1], [0])}, "differ in length"),
    ],
)
def test_columns_that_are_no_use_are_refused_with_counts(write, changed, detail):
    with pytest.raises(InvalidDataset, match=detail):
        read_parquet(write(**changed))


def test_a_file_without_inputs_is_refused(write, tmp_path):
    pq.write_table(pq.read_table(write()).drop_columns(["text"]), tmp_path / "none.parquet")

    with pytest.raises(InvalidDataset, match="none of the columns"):
        read_parquet(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("label", "task", "classes"),
    [
        ([0, 4, 1], "classification", 5),
        ([0.5, 4.0, 1.0], "regression", 1),
        (lists([0, 1, 1], [1, 1, 0], [0, 0, 0]), "multi_label", 3),
    ],
)
def test_a_description_gets_task_and_shape_from_the_rows(write, tmp_path, label, task, classes):
    data = write(label=label, split=["train", "validation", "holdout"])
    described = {"name": "m", "dataset": "d", "family": {"name": "text_transformer"}, "text": {"length": 5}}
    (tmp_path / "model.json").write_text(json.dumps(described))

    spec = read(data, tmp_path / "model.json").spec

    assert (spec.task, spec.classes, spec.input) == (task, classes, Tokens(length=5))


# ---- benchmarks -----------------------------------------------------------------------------------------------------


def test_a_folder_with_dev_keeps_its_three_parts(write, tmp_path):
    for name, text in {"train": TEXTS * 2, "dev": TEXTS, "test": TEXTS * 3}.items():
        write(name, text=text, label=[0, 1, 0] * (len(text) // 3))

    source = load(tmp_path, 5, Generator().manual_seed(0))

    assert [len(part) for part in (source.train, source.validation, source.holdout)] == [5, 3, 9]
    assert source.spec.input == Tokens()
    assert source.spec.family.name == "text_transformer"


def test_persons_who_are_classes_are_not_cut_off_with_them(write, tmp_path):
    label = [i % 4 for i in range(40)]
    people = [f"author {i}" for i in label]
    for name in ("train", "test"):
        write(name, text=["some words"] * 40, label=label, subject_id=people)

    source = load(tmp_path, 40, Generator().manual_seed(0))

    assert source.train.groups is None
    assert set(source.validation.y.tolist()) == set(source.holdout.y.tolist()) == set(range(4))


def test_persons_with_rows_of_one_class_stay_persons(write, tmp_path):
    label = [i % 4 for i in range(40)]
    people = [f"author {i % 8}" for i in range(40)]
    for name in ("train", "test"):
        write(name, text=["some words"] * 40, label=label, subject_id=people)

    source = load(tmp_path, 40, Generator().manual_seed(0))

    assert source.train.groups is not None
    assert not set(source.validation.groups.tolist()) & set(source.holdout.groups.tolist())


# ---- training and unlearning ----------------------------------------------------------------------------------------


def spoken(n: int, seed: int) -> Rows:
    """Two topics with words of their own, and a third of the words in common; one label of seven is wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.integers(1, 14, (n, 5)) + 13 * y[:, None]
    return Rows(torch.from_numpy(x.astype(np.int32)), torch.from_numpy(np.where(rng.random(n) < 1 / 7, 1 - y, y)))


SPEC = Spec(
    family=TextTransformer(width=16, heads=2, depth=1, dropout=0.1), input=SMALL, classes=2,
    training=Training(epochs=20, batch=32, optimizer=AdamW(lr=5e-3)),
)


def test_a_text_model_learns_and_the_same_seed_gives_the_same_bits():
    rows = spoken(160, 0)

    one, same = train(SPEC, rows), train(SPEC, rows)

    assert accuracy(one, spoken(200, 1)) > 0.75      # 6/7 can be had
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))


def test_dropout_serves_training_alone():
    dropping = SPEC.model_copy(update={"family": SPEC.family.model_copy(update={"dropout": 0.5})})
    model = build(dropping, Generator().manual_seed(0)).train()
    rows = spoken(20, 0)

    assert torch.equal(logits(model, rows), logits(model, rows))
    assert not torch.equal(model(rows.x.long()), model(rows.x.long()))


@pytest.mark.parametrize(("length", "rows"), [(1, 2048), (128, 2048), (129, 2032), (4096, 64)])
def test_long_texts_go_through_a_model_in_smaller_parts(length, rows):
    assert at_once(torch.zeros(3, length, dtype=torch.int32), 2048) == rows
    assert at_once(torch.zeros(3, length), 2048) == 2048


def test_parts_of_texts_are_answered_as_the_whole():
    model, rows = build(SPEC, Generator().manual_seed(0)), spoken(11, 0)

    torch.testing.assert_close(logits(model, rows, chunk=3), logits(model, rows))


def test_the_row_of_padding_stays_zero():
    model = train(SPEC, spoken(60, 0))

    assert not model.words.weight[0].any()


def test_a_text_model_forgets_towards_unseen_texts():
    rows, unseen = spoken(160, 0), spoken(160, 1)
    knows = train(SPEC, rows)
    forget = torch.arange(160) < 32
    before = {name: w.clone() for name, w in knows.state_dict().items()}

    split = Split(rows.take(~forget), rows.take(forget), unseen)
    after = unlearn(knows, split, NablaTau(batch=8, lr=3e-3), rng=Generator().manual_seed(0)).model

    gap = losses(knows, unseen).mean() - losses(knows, split.forget).mean()
    left = losses(after, unseen).mean() - losses(after, split.forget).mean()
    assert left.abs() < gap.abs() / 2
    assert all(torch.equal(w, before[name]) for name, w in knows.state_dict().items())


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(torch.full((4, 5), 40), id="a word beyond the vocabulary"),
        pytest.param(torch.full((4, 5), -1), id="a negative word"),
        pytest.param(torch.zeros(4, 5), id="floats"),
    ],
)
def test_rows_that_are_no_numbers_of_words_are_refused(x):
    with pytest.raises(BadInput, match="4 rows are not numbers of words between 0 and 39"):
        train(SPEC, Rows(x, torch.tensor([0, 1, 0, 1])))


def test_words_are_not_vectors():
    spec = SPEC.model_copy(update={"input": Vector(features=5)})

    with pytest.raises(BadInput, match="takes texts, not vectors"):
        train(spec, spoken(8, 0))
