"""Two processes that share every batch end at the weights of one; both are real ones, joined by torchrun over gloo."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.worker.conformance import METHODS, named
from tests.worker.in_two import BATCH, TARGETS
from worker.distributed import everyone, joined, place, processes, share, summed

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
NAMES = ["trained", "resumed", *map(named, TARGETS)]
NAMES += [f"{world}-{recipe.name}" for world in ("usual", "lone", "labels") for recipe in METHODS]


def run(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    run("-m", "tests.worker.in_two", folder)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    run(*TORCHRUN, "-m", "tests.worker.in_two", folder)
    return folder


def furthest(a: Path, b: Path) -> float:
    """The largest difference of two weights."""
    one, other = load_file(a), load_file(b)
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_there_were_two(alone, together):
    assert [f.read_text() for f in sorted(alone.glob("processes*"))] == ["1"]
    assert [f.read_text() for f in sorted(together.glob("processes*"))] == ["2", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_give_the_weights_of_one(name, alone, together):
    assert furthest(alone / f"{name}.0", together / f"{name}.0") <= 1e-5
    assert furthest(together / f"{name}.0", together / f"{name}.1") == 0


def test_statistics_over_a_batch_are_refused_where_nobody_has_it_whole(alone, together):
    assert not list(alone.glob("refused*"))
    assert ["one process" in f.read_text() for f in together.glob("refused*")] == [True, True]


def test_who_is_alone_joins_nobody_and_has_every_batch_to_itself():
    rows, gradients = torch.arange(BATCH), [torch.ones(2)]

    with joined():
        assert (processes(), place()) == (1, 0)
        assert share(rows) is rows
        assert everyone(rows, BATCH) is rows
        assert summed(gradients) is gradients


def described(folder: Path) -> list[object]:
    """A model to be trained on the example's rows."""
    hospital = ROOT / "examples" / "hospital"
    model = json.loads((hospital / "model.json").read_text())
    model["family"] = {"name": "mlp", "hidden": [8]}
    model["training"] |= {"epochs": 1, "batch": 2001}
    (folder / "model.json").write_text(json.dumps(model))
    return [hospital / "hospital.parquet", folder / "model.json"]


@pytest.mark.slow
def test_the_command_line_works_under_torchrun(tmp_path):
    known = described(tmp_path)
    (tmp_path / "ids").write_text("1\n")
    method = ["--kind", "classes", "--method", '{"name": "neg_grad_plus", "epochs": 1}']

    for name, launcher in {"alone": [], "together": TORCHRUN}.items():
        knows, out = tmp_path / f"{name}.knows", tmp_path / f"{name}.out"
        run(*launcher, "-m", "worker.cli", "train", *known, knows)
        told = run(*launcher, "-m", "worker.cli", "unlearn", *known, knows, tmp_path / "ids", out, *method)
        assert told.count("sha256") == 1

    assert furthest(tmp_path / "alone.knows", tmp_path / "together.knows") <= 1e-5
    assert furthest(tmp_path / "alone.out", tmp_path / "together.out") <= 1e-5
