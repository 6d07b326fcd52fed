"""`expunge-worker preflight` on local files."""

import json
from pathlib import Path

import pytest

from tests.tiny import MODEL, tiny_parquet
from worker import checkpoint
from worker.cli import main
from worker.sources import read
from worker.training import train


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Rows, a model's description, its weights, and twelve persons."""
    folder = tmp_path_factory.mktemp("preflight")
    data, model, weights, ids = (folder / name for name in ("rows.parquet", "model.json", "weights.safetensors", "ids"))
    tiny_parquet(data)
    model.write_text(json.dumps(MODEL))
    source = read(data, model)
    checkpoint.save(train(source.spec, source.train), weights)
    ids.write_text("\n".join(f"person-train-{n}" for n in range(12)))
    return [*map(str, (data, model, weights, ids))]


def asked(files: list[str], capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard output."""
    with pytest.raises(SystemExit) as ended:
        main(["preflight", *files, *words])
    return ended.value.code or 0, capsys.readouterr().out


def test_a_recipe_that_may_run_ends_with_zero(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = asked(files, capsys)

    assert code == 0
    assert "G4_collateral" in said


def test_a_refused_recipe_ends_with_one_and_its_numbers(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = asked(files, capsys, "--method", "neg_grad", "--json")

    assert code == 1
    assert json.loads(said)["verdict"] == "refuse"


def test_nothing_is_written(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in Path(files[0]).parent.iterdir()}

    asked(files, capsys)

    assert {path: path.read_bytes() for path in Path(files[0]).parent.iterdir()} == before
