"""`expunge-worker audit` on local files, for models that were unlearned anywhere."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.domain.report import AuditReport
from tests.tiny import MODEL, tiny_parquet, tiny_rows
from worker import checkpoint
from worker.cli import main
from worker.sources import asked_for, read
from worker.training import train

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

Call = Callable[..., tuple[int, str]]
QUICK = {"rungs": [{"name": "population"}], "permutations": 199, "bootstrap": 199, "alpha": 0.05}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, a model's description, twenty persons, weights that know them and weights that never saw them."""
    home = tmp_path_factory.mktemp("audit")
    tiny_parquet(home / "rows.parquet")
    (home / "model.json").write_text(json.dumps(MODEL | {"policy": {"audit": QUICK}}))
    (home / "ids").write_text("\n".join(f"person-train-{n}" for n in range(20)))
    source = read(home / "rows.parquet", home / "model.json")
    retain = source.split(asked_for(home / "rows.parquet", home / "ids", "subjects")).retain
    checkpoint.save(train(source.spec, source.train), home / "before.safetensors")
    for name, seed in (("after", 1), ("beside", 2), ("third", 3)):
        checkpoint.save(train(source.spec.seeded(seed), retain), home / f"{name}.safetensors")
    return home


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Exit code, and what was said."""

    def asked(*words: object, **named: object) -> tuple[int, str]:
        given = {
            "before": folder / "before.safetensors", "after": folder / "after.safetensors",
            "data": folder / "rows.parquet", "model": folder / "model.json", "forget": folder / "ids",
        } | named
        pairs = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        with pytest.raises(SystemExit) as ended:
            main(["audit", *pairs, *map(str, words)])
        return ended.value.code or 0, " ".join(capsys.readouterr().err.split())

    return asked


def report(path: Path) -> AuditReport:
    return AuditReport.model_validate_json(path.read_bytes())


def test_the_report_is_written_in_every_form_that_is_named(call, tmp_path):
    outs = [tmp_path / f"r.{suffix}" for suffix in ("json", "html", "pdf")]

    code, said = call(*(word for out in outs for word in ("--out", out)))

    made = report(outs[0])
    assert code == 0
    assert made.verdict.value in said
    assert made.forget_set.n == 60
    assert made.subject.algorithm is None
    assert outs[1].read_bytes().startswith(b"<!doctype html>")
    assert outs[2].read_bytes().startswith(b"%PDF-")


def test_references_are_named_or_trained_here(call, folder, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(QUICK | {"rungs": [{"name": "population"}, {"name": "oracle_distance"}]}))

    code, _ = call("--out", tmp_path / "r.json", "--reference", folder / "beside.safetensors",
                   "--reference", folder / "third.safetensors", "--train-references", 1, "--plan", plan)

    made = report(tmp_path / "r.json")
    assert code == 0
    assert (made.references.k, made.plan.references) == (3, 3)
    assert len(set(made.references.model_sha256)) == 3
    assert made.subject.model_after_sha256 not in made.references.model_sha256


def test_the_default_plan_relearns_by_the_models_own_recipe(call, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(QUICK | {"rungs": [{"name": "population"}, {"name": "relearning", "steps": 5}]}))

    call("--out", tmp_path / "r.json", "--plan", plan)

    assert report(tmp_path / "r.json").relearning[0].lr == pytest.approx(0.001)


def test_the_same_command_writes_the_same_bytes(call, tmp_path):
    for name in ("a", "b"):
        call("--out", tmp_path / f"{name}.json")

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_leak_ends_a_pipeline_with_three(call, folder, tmp_path):
    words = ("--out", tmp_path / "r.json")
    still = {"after": folder / "before.safetensors"}

    assert call(*words, **still)[0] == 0
    assert call(*words, "--fail-on", "leak", "--fail-on", "inconclusive", **still)[0] == 3
    assert call(*words, "--fail-on", "inconclusive", **still)[0] == 0
    assert report(tmp_path / "r.json").verdict.value == "LEAK_DETECTED"


def test_too_few_rows_to_tell_end_a_pipeline_with_four(call, tmp_path):
    (tmp_path / "ids").write_text("row-train-3-0\nrow-train-5-1")

    code, said = call("--out", tmp_path / "r.json", "--kind", "samples", "--fail-on", "inconclusive",
                      forget=tmp_path / "ids")

    assert code == 4
    assert "INCONCLUSIVE" in said


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_fewer_references_than_a_rung_needs_are_said_before_anything_is_scored(call, folder, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(QUICK | {"rungs": [{"name": "population"}, {"name": "reference"}]}))

    code, said = call("--out", tmp_path / "r.json", "--plan", plan, "--reference", folder / "beside.safetensors")

    assert code == 1
    assert "the rung reference needs at least 2 references, and there are 1" in said
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("plan", "told"), [
    ('{"rungs": []}', "rungs"), ('{"margin": 2}', "margin"), ("[", "JSON"), ('{"rungs": [{"name": "x"}]}', "x"),
])
def test_a_plan_that_is_none_is_refused_with_its_place(plan, told, call, tmp_path):
    (tmp_path / "plan.json").write_text(plan)

    code, said = call("--out", tmp_path / "r.json", "--plan", tmp_path / "plan.json")

    assert code == 1
    assert "no plan of an audit" in said
    assert told in said


def test_a_form_that_is_none_is_refused_before_the_work(call, tmp_path):
    code, said = call("--out", tmp_path / "report.docx")

    assert code == 1
    assert "report.docx" in said


def test_a_holdout_that_was_trained_on_is_refused(call, tmp_path):
    rows = tiny_rows()
    known = [row for row in rows if row["split"] == "train"]
    again = [row | {"sample_id": f"again-{k}", "split": "holdout"} for k, row in enumerate(known)]
    tiny_parquet(tmp_path / "rows.parquet", rows + again)

    code, said = call("--out", tmp_path / "r.json", data=tmp_path / "rows.parquet")

    assert code == 1
    assert "holdout rows are rows that were trained on" in said


def test_a_holdout_too_small_is_inconclusive(call, tmp_path):
    kept = [row for row in tiny_rows() if row["split"] != "holdout"]
    few = [row for row in tiny_rows() if row["split"] == "holdout"][:6]
    tiny_parquet(tmp_path / "rows.parquet", kept + few)

    call("--out", tmp_path / "r.json", data=tmp_path / "rows.parquet")

    assert report(tmp_path / "r.json").verdict.value == "INCONCLUSIVE"


def test_a_data_set_without_a_holdout_is_refused_by_name(call, tmp_path):
    tiny_parquet(tmp_path / "rows.parquet", [row for row in tiny_rows() if row["split"] != "holdout"])

    code, said = call("--out", tmp_path / "r.json", data=tmp_path / "rows.parquet")

    assert code == 1
    assert "no rows of the split 'holdout'" in said


def test_weights_of_another_architecture_are_refused(call, folder, tmp_path):
    described = MODEL | {"family": {"name": "mlp", "hidden": [8]}}
    (tmp_path / "model.json").write_text(json.dumps(described))

    code, said = call("--out", tmp_path / "r.json", model=tmp_path / "model.json")

    assert code == 1
    assert "not this architecture's" in said


def test_no_id_is_repeated(call, tmp_path):
    (tmp_path / "ids").write_text("person-train-1\nsomebody-else")

    code, said = call("--out", tmp_path / "r.json", forget=tmp_path / "ids")

    assert code == 1
    assert "1 of 2" in said
    assert "somebody-else" not in said
