"""The benchmark's answer, and the command line on local files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from service.domain.recipes import AdamW, Training
from service.errors import BadInput, UnknownSamples
from worker import checkpoint
from worker.bench.contenders import contenders
from worker.bench.sources import halves, load, some
from worker.bench.unlearn import bench, distances, interval, rows, summary
from worker.cli import app, main
from worker.data import Rows
from worker.sources import asked_for, describe, read

Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 60 persons with two rows each, and its model."""
    home = tmp_path_factory.mktemp("clinic")
    n, rng = 120, np.random.default_rng(0)
    x = rng.normal(size=(n, 6)).astype(np.float32)
    table = {
        "sample_id": [f"s{i}" for i in range(n)],
        "subject_id": [f"p{i // 2}" for i in range(n)],
        "split": ["train"] * 60 + ["validation"] * 30 + ["holdout"] * 30,
        "label": rng.integers(0, 2, n).astype(np.int32),
        "features": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 6),
    }
    pq.write_table(pa.table(table), home / f"{home.name}.parquet")
    training = Training(optimizer=AdamW(lr=0.01), epochs=10, batch=16)
    model = {"name": "m", "dataset": "d", "family": {"name": "mlp", "hidden": [32]}, "training": training.model_dump()}
    (home / "model.json").write_text(json.dumps(model))
    (home / "ids.txt").write_text("p3\n\np7\n")
    return home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> str:
        app([str(word) for word in words], result_action="return_value")
        return capsys.readouterr().out

    return call


def files(folder: Path) -> tuple[Path, Path]:
    return folder / f"{folder.name}.parquet", folder / "model.json"


def test_local_files_are_trained_and_unlearned(folder, tmp_path, run):
    data, model = files(folder)
    before, after, again = (tmp_path / f"{name}.safetensors" for name in ("before", "after", "again"))

    run("train", data, model, before)
    run("unlearn", data, model, before, folder / "ids.txt", after, "--method", "retrain")
    run("unlearn", data, model, before, folder / "ids.txt", again, "--method", '{"name": "nabla_tau", "passes": 1}')

    weights = [checkpoint.digest(checkpoint.load(read(data, model).spec, path)) for path in (before, after, again)]
    assert len(set(weights)) == 3


def test_the_rows_of_the_listed_persons_are_meant(folder):
    gone = asked_for(files(folder)[0], folder / "ids.txt", "subjects")

    assert gone.nonzero().flatten().tolist() == [6, 7, 14, 15]


@pytest.mark.parametrize(("kind", "ids", "rows"), [("samples", "s0\ns59", 2), ("subjects", "p29", 2)])
def test_ids_are_of_the_kind_that_is_said(kind, ids, rows, folder, tmp_path):
    (tmp_path / "ids").write_text(ids)

    assert int(asked_for(files(folder)[0], tmp_path / "ids", kind).sum()) == rows


def test_an_unknown_id_is_counted_and_not_repeated(folder, tmp_path):
    (tmp_path / "ids").write_text("p1\np59\nnobody")     # p59 is in the holdout

    with pytest.raises(UnknownSamples, match="2 of 3") as caught:
        asked_for(files(folder)[0], tmp_path / "ids", "subjects")

    assert "nobody" not in str(caught.value)


def test_an_empty_list_of_ids_is_refused(folder, tmp_path):
    (tmp_path / "ids").write_text("\n")

    with pytest.raises(BadInput, match="empty"):
        asked_for(files(folder)[0], tmp_path / "ids", "subjects")


def test_a_wrong_description_names_the_place(tmp_path):
    (tmp_path / "model.json").write_text('{"name": "m", "dataset": "d", "family": {"name": "forest"}}')

    with pytest.raises(BadInput, match="family"):
        describe(tmp_path / "model.json")


def test_an_error_is_a_sentence_and_a_status(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", str(folder / "ids.txt"), str(folder / "model.json"), str(tmp_path / "w")])

    assert caught.value.code == 1
    assert "not Parquet" in capsys.readouterr().err


def test_the_benchmark_prints_the_keys_of_the_design(folder, run):
    found = json.loads(run("bench", "unlearn", "--json", "--quick", "--data", folder, "--fraction", "0.1"))

    head = {"dataset", "rows_n", "fraction", "seeds", "retrain_s", "auc_ref_before", "auc_ref_retrained", "retrained"}
    row = {"s", "time_ratio", "auc_ref", "gap_closed", "retain_accuracy", "forget_accuracy", "forget_gap"}
    row |= {"test_accuracy", "test_drop", "average_gap", "ks_to_retrained"}
    assert head | {"rows"} <= found.keys()
    assert {"retain", "forget", "test"} <= found["retrained"].keys()
    assert [r["recipe"] for r in found["rows"]] == [*(c.name for c in contenders(rates=False)), "none", "retrain"]
    assert all(row | {f"{key}_ci" for key in row} | {"recipe"} <= r.keys() for r in found["rows"])


def test_the_benchmark_is_a_table_for_the_eye(folder, run):
    shown = run("bench", "unlearn", "--quick", "--data", folder, "--fraction", "0.1")

    assert "nabla" in shown


@pytest.mark.slow
def test_doing_nothing_closes_no_gap_and_retraining_all_of_it(folder):
    rng = torch.Generator().manual_seed(0)
    found = bench(load(folder, 60, rng), fraction=0.1, seeds=2, references=1)
    rows = {row["recipe"]: row for row in found["rows"]}

    assert rows["none"]["gap_closed"] == 0
    assert rows["retrain"]["gap_closed"] == 1
    assert rows["retrain"]["average_gap"] == rows["retrain"]["ks_to_retrained"] == 0
    assert rows["retrain"]["time_ratio"] == 1
    assert len(found["retrain_s_ci"]) == 2


def test_distances_are_worked_out_as_by_hand():
    keys = ("auc_ref", "retain_accuracy", "forget_accuracy", "test_accuracy", "s")
    before, ideal, seen = (
        dict(zip(keys, numbers, strict=True))
        for numbers in ((0.8, 0.9, 0.9, 0.6, 0), (0.5, 0.9, 0.6, 0.6, 8), (0.6, 0.8, 0.7, 0.5, 2))
    )

    found = distances(seen, before, ideal)

    assert found == pytest.approx(
        {"time_ratio": 0.25, "gap_closed": 2 / 3, "forget_gap": 0.1, "test_drop": 0.1, "average_gap": 0.1}
    )


def test_the_interval_is_students():
    assert interval(np.array([1.0, 2.0, 3.0])) == pytest.approx([2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5])
    assert interval(np.array([1.0])) is None
    assert summary([{"a": 1.0}, {"a": 3.0}])["a"] == 2


def test_persons_are_never_cut_in_two():
    rows = Rows(torch.rand(40, 2), torch.zeros(40, dtype=torch.int64), torch.arange(40) // 4)

    left, right = halves(rows, torch.Generator().manual_seed(0))

    assert len(left) == len(right) == 20
    assert not set(left.groups.tolist()) & set(right.groups.tolist())


def test_a_share_that_rounds_to_nothing_is_one_row():
    rows = Rows(torch.rand(10, 2), torch.zeros(10, dtype=torch.int64))

    assert int(some(rows, 0.01, torch.Generator().manual_seed(0)).sum()) == 1


def test_a_folder_of_two_files_is_cut_into_three(tmp_path, folder):
    table = pq.read_table(files(folder)[0])
    pq.write_table(table.slice(0, 80), tmp_path / "train.parquet")
    pq.write_table(table.slice(80), tmp_path / "test.parquet")

    found = load(tmp_path, 50, torch.Generator().manual_seed(0))

    assert [len(part) for part in (found.train, found.validation, found.holdout)] == [50, 20, 20]


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(BadInput):
        load(tmp_path, 50, torch.Generator())


def test_single_lines_can_be_asked_for_and_others_are_named():
    assert [each.name for each in contenders(only=["scrub", "nabla_tau mean"])] == ["nabla_tau mean", "scrub"]
    with pytest.raises(BadInput, match="there are: nabla_tau quantile"):
        contenders(only=["scrub", "scrup"])


def test_the_others_show_their_published_rate_and_the_best_of_three():
    (scrub,) = contenders(only=["scrub"])
    runs = [{("scrub", i): {"average_gap": gap, "s": 1.0} for i, gap in enumerate((0.3, float("nan"), 0.1))}]

    published, best = rows([scrub], runs)

    assert (published["recipe"], published["average_gap"]) == ("scrub", 0.3)
    assert (best["recipe"], best["average_gap"]) == ("scrub, best of 3 rates", 0.1)
    assert best["lr"] == pytest.approx(10 * published["lr"])
