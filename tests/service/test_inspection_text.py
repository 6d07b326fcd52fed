"""Texts: numbered without a vocabulary, looked at in the sandbox, and served like every other data set."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from service.domain.recipes import Tokens
from service.domain.words import number, numbers, words
from service.errors import BadInput
from service.inspection.parquet import Options, inspect_parquet, parse_options
from service.inspection.rows import Scan
from worker.ingest import ingest

N = 12
SECRET = "8222157"
SMALL = Tokens(length=5, vocabulary=50)
TEXTS = [f"Patient no. {i} is {'well' if i % 2 else 'ill'}, he says." for i in range(N)]


def good(**changed: Any) -> dict[str, Any]:
    return {
        "sample_id": [f"s{SECRET}-{i}" for i in range(N)],
        "split": ["train"] * 8 + ["validation"] * 2 + ["holdout"] * 2,
        "label": [i % 2 for i in range(N)],
        "text": TEXTS,
    } | changed


@pytest.fixture
def write(tmp_path: Path):
    def write(columns: dict[str, Any]) -> Path:
        pq.write_table(pa.table(columns), tmp_path / "texts.parquet")
        return tmp_path / "texts.parquet"

    return write


def faults(path: Path) -> list[tuple[str, str]]:
    scan = Scan(path, Options(text=SMALL))
    for _ in scan.batches():
        pass
    return [(fault.pointer, fault.detail) for fault in scan.outcome().faults]


# ---- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don't re-admit\tHER!!", ["don", "'", "t", "re", "-", "admit", "her", "!", "!"]),
        ("3.5 mg_of ÄPFEL", ["3", ".", "5", "mg", "_", "of", "äpfel"]),
        ("Привет, мир", ["привет", ",", "мир"]),
        (" \n\x00\u200b", ["\x00", "\u200b"]),
        ("e\u0301te\u0301", ["été"]),
        ("", []),
    ],
)
def test_a_text_is_cut_into_runs_of_letters_and_single_marks(text, wanted):
    assert list(words(text)) == wanted


def test_a_words_number_is_its_hash_as_another_tool_computes_it():
    forget, accent = 0xD6B9AD5E045A7B0A, 0xCB1ABF8BEFF3192F     # printf WORD | b2sum -l 64

    assert number("forget", 16_384) == 1 + forget % 16_383
    assert number("é", 3) == 1 + accent % 2


@given(texts=st.lists(st.text(max_size=40), max_size=5), length=st.integers(1, 6), vocabulary=st.integers(3, 40))
def test_rows_are_the_first_words_and_then_nothing(texts, length, vocabulary):
    rows, empty = numbers(texts, Tokens(length=length, vocabulary=vocabulary))

    held = np.array(rows).reshape(len(texts), length)
    for row, text in zip(held, texts, strict=True):
        known = [number(word, vocabulary) for word in words(text)][:length]
        assert row.tolist() == known + [0] * (length - len(known))
    assert empty == sum(not list(words(text)) for text in texts)
    assert ((held >= 0) & (held < vocabulary)).all()


# ---- the sandbox ----------------------------------------------------------------------------------------------------


def test_a_file_of_texts_is_described_by_how_it_is_read(write):
    facts = inspect_parquet(write(good()), Options(text=SMALL))

    assert facts.input == SMALL
    assert (facts.rows, facts.classes) == (N, 2)


def test_a_text_beside_vectors_is_a_remark(write):
    vectors = pa.array([[0.5, float(i)] for i in range(N)], pa.list_(pa.float32(), 2))

    facts = inspect_parquet(write(good(features=vectors, text=pa.array([None] * N, pa.string()))), Options())

    assert facts.input.kind == "vector"


def test_the_tensors_are_the_numbers_of_the_words(write, tmp_path):
    drained = list(ingest(write(good()), tmp_path / "out", Options(text=SMALL)))

    held = load_file(tmp_path / "out")
    rows, _ = numbers(TEXTS, SMALL)
    assert sum(map(len, drained)) == N
    assert held["x"].dtype == np.int32
    np.testing.assert_array_equal(held["x"], np.array(rows).reshape(N, 5))
    np.testing.assert_array_equal(held["y"], good()["label"])


def test_short_texts_that_become_long_rows_are_read_in_small_batches(write):
    n, long = 2_000, Tokens(length=4096)
    columns = {
        "sample_id": list(map(str, range(n))), "label": [i % 2 for i in range(n)], "text": ["x"] * n,
        "split": (["train"] * 8 + ["validation", "holdout"]) * (n // 10),
    }

    sizes = [len(batch.labels) for batch in Scan(write(columns), Options(text=long)).batches()]

    assert sum(sizes) == n
    assert max(sizes) * 4 * 4096 <= 8 << 20


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ([None, *TEXTS[1:]], "rows without a text: 1"),
        (["", " \n", *TEXTS[2:]], "texts without a word: 2"),
        ([text.encode() for text in TEXTS], "the column has another type than text"),
        (list(range(N)), "the column has another type than text"),
    ],
)
def test_bad_texts_are_told_with_counts_alone(write, text, detail):
    found = faults(write(good(text=text)))

    assert found == [("/columns/text", detail)]


def test_bytes_that_are_no_text_are_refused(write):
    raw = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())

    found = faults(write(good(text=pa.concat_arrays([raw, pa.array(TEXTS[1:])]))))

    assert found == [("/columns/text", "some texts are not valid UTF-8")]


@pytest.mark.parametrize(
    ("label", "detail"),
    [
        ([[0.0, 1.0]] * N, "the column has another type than integers or floats"),
        ([0.25 * i for i in range(N)], "labels that are not whole numbers: 9"),
    ],
)
def test_labels_that_are_no_classes_are_not_for_the_service(write, label, detail):
    assert faults(write(good(label=label))) == [("/columns/label", detail)]


@pytest.mark.parametrize("text", ["", "[]", '{"length": 0}', '{"length": 4097}', '{"vocabulary": 2}', '{"words": 9}'])
def test_a_way_to_read_texts_that_is_none_is_refused(text):
    with pytest.raises(BadInput) as caught:
        parse_options(text=text)

    assert [fault.pointer for fault in caught.value.faults] == ["/text"]


# ---- the service ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_request_to_forget_texts_ends_certified(api, work, tmp_path):
    rng = np.random.default_rng(0)
    n = 300
    kinds = rng.integers(0, 2, n)
    columns = {
        "sample_id": [f"row-{i}" for i in range(n)], "subject_id": [f"person-{i // 3}" for i in range(n)],
        "label": kinds,
        "text": [" ".join(f"w{w}" for w in rng.integers(0, 30, 6) + 15 * kind) for kind in kinds],
    }
    pq.write_table(pa.table(columns), tmp_path / "texts.parquet")
    form = {"name": "d", "text": '{"length": 6, "vocabulary": 64}', "split": '{"validation": 0.2, "holdout": 0.3}'}
    model = {
        "name": "m", "dataset": "d",
        "family": {"name": "text_transformer", "width": 8, "heads": 2, "depth": 1},
        "training": {"epochs": 8, "batch": 32, "optimizer": {"name": "adamw", "lr": 0.01}},
        "policy": {"audit": {"permutations": 99, "bootstrap": 99}},
    }

    added = api.post("/datasets", data=form, files={"file": (tmp_path / "texts.parquet").read_bytes()})
    refused = api.post("/models", json=model | {"family": {"name": "cnn"}})
    registered = api.post("/models", json=model)
    work()
    person = next(f"person-{i}" for i in range(n // 3) if asked(api, f"person-{i}").status_code == 202)
    work()

    assert (added.status_code, registered.status_code) == (202, 202), added.text + registered.text
    assert added.json()["facts"]["input"] == {"kind": "tokens", "length": 6, "vocabulary": 64}
    assert (refused.status_code, refused.json()["detail"]) == (422, "this family takes pictures, not texts")
    requests = api.get("/deletion-requests").json()["items"]
    assert [request["state"] for request in requests] == ["certified"]
    assert person not in json.dumps(requests)


def asked(api: Any, person: str) -> Any:
    return api.post("/deletion-requests", json={"model": "m", "target": {"kind": "subjects", "ids": [person]}})
