"""Everything that a client can get wrong, through HTTP: it is told what and where, nobody is named, nothing changes."""

import io
import json
import pickle  # noqa: TID251  to make what has to be refused
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from safetensors.numpy import save
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.api.app import create_app
from service.domain.architectures import tensors
from service.domain.recipes import Mlp, Spec, Vector
from service.settings import Settings
from tests.service.conftest import Trained, cloned
from tests.service.world import MODEL, ask, files, person, stored
from tests.tiny import CLASSES, FEATURES, SCHEMA, tiny_rows

PERSONAL = re.compile(r"(person|row)-(train|validation|holdout)|nobody-8222157")
NOBODY = "nobody-8222157"
KEYS = {"type", "title", "status", "detail", "hint", "instance", "errors"}
SPEC = Spec(family=Mlp(hidden=(32,)), input=Vector(features=FEATURES), classes=CLASSES)


@dataclass(frozen=True)
class Service:
    """One for all cases: that none of them changes anything is what each of them shows."""

    api: TestClient
    engine: Engine
    store: Path


@pytest.fixture(scope="module")
def service(
    postgres_url: str, trained: Trained, keys_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("bad")
    with cloned(postgres_url, trained.copied_to(home)) as url:
        app = create_app(Settings(home=home, database_url=SecretStr(url), keys=keys_dir))
        with TestClient(app, raise_server_exceptions=False) as api:
            assert api.post("/models", json=MODEL | {"name": "untrained"}).status_code == 202
            yield Service(api, app.state.context.engine, home / "store")
        app.state.context.engine.dispose()


def rows(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> bytes:
    """The small data set with every row changed, or left out where the change gives None."""
    changed = [new for row in tiny_rows() if (new := change(row)) is not None]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(changed, schema=SCHEMA), file)
    return file.getvalue()


def first(**values: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Changes one row: the first visit of person 7."""
    return lambda row: row | values if row["sample_id"] == "row-train-7-0" else row


def dataset(content: bytes) -> Callable[[TestClient], Any]:
    return lambda api: api.post("/datasets", data={"name": "e"}, files={"file": (f"{NOBODY}.parquet", content)})


def forget(kind: str, ids: list[Any], **more: Any) -> Callable[[TestClient], Any]:
    return lambda api: ask(api, kind, ids, **more)


def target(value: Any) -> Callable[[TestClient], Any]:
    return lambda api: api.post("/deletion-requests", json={"model": "m", "target": value})


def weights(content: bytes) -> Callable[[TestClient], Any]:
    form = {"model": json.dumps(MODEL | {"name": "n"})}
    return lambda api: api.post("/models", data=form, files={"weights": (f"{NOBODY}.bin", content)})


def model(**values: Any) -> Callable[[TestClient], Any]:
    return lambda api: api.post("/models", json=MODEL | {"name": "n"} | values)


def good() -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, (_, shape) in tensors(SPEC).items()}


def other_architecture() -> bytes:
    spec = SPEC.model_copy(update={"family": Mlp(hidden=(16, 16))})
    return save({name: np.zeros(shape, np.float32) for name, (_, shape) in tensors(spec).items()})


def with_values(value: float) -> bytes:
    held = good()
    held[NAME].flat[:2] = value
    return save(held)


def torch_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({NOBODY: 1}))
    return file.getvalue()


NAME = next(name for name in good() if name not in ("head.bias", "head.weight"))
SHAPE = "[{}]".format(", ".join(map(str, good()[NAME].shape)))


@dataclass(frozen=True)
class Case:
    send: Callable[[TestClient], Any]
    status: int
    slug: str
    pointers: tuple[str, ...]
    says: str = field(default="")


CASES = {
    "unknown sample": Case(
        forget("samples", ["row-train-7-0", NOBODY, "row-holdout-1-1"]), 404, "unknown-ids", ("/target/ids",),
        "2 of 3"),
    "unknown subject": Case(
        forget("subjects", [person(1), NOBODY]), 404, "unknown-ids", ("/target/ids",), "1 of 2"),
    "person without training rows": Case(
        forget("subjects", ["person-holdout-1"]), 404, "unknown-ids", ("/target/ids",), "1 of 1"),
    "empty list": Case(forget("subjects", []), 422, "bad-input", ("/target/ids",), "at least 1"),
    "empty id": Case(forget("samples", [""]), 422, "bad-input", ("/target/ids/0",), "at least 1"),
    "two kinds of target": Case(
        target({"kind": "samples", "ids": ["row-train-7-0"], "subjects": [person(7)]}),
        422, "bad-input", ("/target/?",)),
    "a list of targets": Case(
        target([{"kind": "samples", "ids": ["row-train-7-0"]}, {"kind": "subjects", "ids": [person(7)]}]),
        422, "bad-input", ("/target",)),
    "no kind of target": Case(target({"ids": [person(7)]}), 422, "bad-input", ("/target",), "kind"),
    "unknown kind of target": Case(
        target({"kind": NOBODY, "ids": [person(7)]}), 422, "bad-input", ("/target",), "kind"),
    "id as a name of a field": Case(
        lambda api: api.post("/deletion-requests", json={person(7): 1, "model": "m", "target": {
            "kind": "samples", "ids": ["row-train-7-0"], "8222157": 1}}),
        422, "bad-input", ("/target/?", "/?")),
    "class that does not exist": Case(forget("classes", [0, 7]), 404, "unknown-class", ("/target/ids",), "1 of 2"),
    "class as text": Case(forget("classes", [person(7)]), 422, "bad-input", ("/target/ids/0",), "integer"),
    "ids that are no list": Case(target({"kind": "samples", "ids": person(7)}), 422, "bad-input", ("/target/ids",)),
    "model that does not exist": Case(
        forget("subjects", [person(7)], model="absent"), 404, "not-found", (), "no model"),
    "model with a NUL in its name": Case(
        forget("subjects", [person(7)], model="m\0"), 422, "bad-input", ("/model",)),
    "external id with a NUL": Case(
        forget("subjects", [person(7)], external_id="a\0b"), 422, "bad-input", ("/external_id",)),
    "id that is no Unicode": Case(
        lambda api: api.post(
            "/deletion-requests", content=b'{"model":"m","target":{"kind":"samples","ids":["\\ud800"]}}',
            headers={"Content-Type": "application/json"}),
        422, "bad-input", ("/target/ids/0",)),
    "model without a version": Case(forget("subjects", [person(7)], model="untrained"), 409, "no-version", ()),
    "body that is not JSON": Case(
        lambda api: api.post("/deletion-requests", content=f'{{"model": {person(7)}', headers={
            "Content-Type": "application/json"}),
        422, "bad-input", ("",), "JSON"),
    "request that leaves two classes only half": Case(
        forget("classes", [0, 1]), 422, "nothing-left", ("/target/ids",), "1 classes would keep"),
    "request that leaves nothing": Case(
        forget("subjects", [person(n) for n in range(60)]), 422, "nothing-left", ("/target/ids",),
        "0 classes would keep"),
    "request that empties a class": Case(
        forget("samples", [r["sample_id"] for r in tiny_rows() if r["split"] == "train" and r["label"] == 2]),
        422, "nothing-left", ("/target/ids",), "1 of 3 classes"),
    "data set without holdout": Case(
        dataset(rows(lambda row: None if row["split"] == "holdout" else row)),
        422, "invalid-dataset", ("/columns/split",), "holdout"),
    "file that is not Parquet": Case(
        dataset(f"sample_id,label\n{NOBODY},1\n".encode()), 422, "invalid-dataset", ("/file",), "not a Parquet file"),
    "file that is cut off": Case(dataset(rows(lambda row: row)[:-100]), 422, "invalid-dataset", ("/file",)),
    "duplicate sample ids": Case(
        dataset(rows(first(sample_id="row-train-8-0"))), 422, "invalid-dataset", ("/columns/sample_id",), ": 1"),
    "label out of range": Case(
        dataset(rows(first(label=-1))), 422, "invalid-dataset", ("/columns/label",), ": 1"),
    "label over the number of classes": Case(
        lambda api: api.post("/datasets", data={"name": "e", "classes": "2"}, files={"file": rows(lambda row: row)}),
        422, "invalid-dataset", ("/columns/label",), "between 0 and 1"),
    "NaN features": Case(
        dataset(rows(first(features=[float("nan")] * 2 + [0.0] * 4))), 422, "invalid-dataset", ("/columns/features",)),
    "two sources of a data set": Case(
        lambda api: api.post("/datasets", data={"name": "e", "key": "sha256/ab"}, files={"file": b"PAR1"}),
        422, "bad-input", ("/file",)),
    "key of nothing": Case(
        lambda api: api.post("/datasets", data={"name": "e", "key": f"sha256/ab/ab{'0' * 62}"}), 404, "not-found", ()),
    "split rule that leaves nothing": Case(
        lambda api: api.post("/datasets", data={"name": "e", "split": '{"validation": 0.5, "holdout": 0.5}'},
                             files={"file": b"PAR1"}),
        422, "bad-input", ("/split",)),
    "data set without a name": Case(
        lambda api: api.post("/datasets", files={"file": b"PAR1"}), 422, "bad-input", ("/name",)),
    "data set of a taken name": Case(
        lambda api: api.post("/datasets", data={"name": "d"}, files={"file": rows(lambda row: row)}),
        409, "already-exists", ()),
    "weights of another architecture": Case(
        weights(other_architecture()), 422, "invalid-weights", (f"/tensors/{NAME}", "/tensors"),
        "do not belong to this architecture: 2"),
    "weights as a pickle": Case(weights(pickle.dumps({NOBODY: 1})), 422, "invalid-weights", ("/file",), "pickle"),
    "weights as an archive with a pickle": Case(weights(torch_archive()), 422, "invalid-weights", ("/file",), "pickle"),
    "weights that are not finite": Case(
        weights(with_values(float("inf"))), 422, "invalid-weights", (f"/tensors/{NAME}",), ": 2"),
    "weights that are not a number": Case(
        weights(with_values(float("nan"))), 422, "invalid-weights", (f"/tensors/{NAME}",), ": 2"),
    "weights of a wrong dtype": Case(
        weights(save(good() | {NAME: good()[NAME].astype(np.float64)})),
        422, "invalid-weights", (f"/tensors/{NAME}",), f"F64 {SHAPE} where F32 {SHAPE} is needed"),
    "weights and their key": Case(
        lambda api: api.post(
            "/models", data={"model": json.dumps(MODEL | {"name": "n", "weights_key": "sha256/ab"})},
            files={"weights": b"{}"}),
        422, "bad-input", ("/weights_key",)),
    "model form without a model": Case(
        lambda api: api.post("/models", files={"weights": b"{}"}), 422, "bad-input", ("/model",)),
    "layer without width": Case(
        model(family={"name": "mlp", "hidden": [0]}), 422, "bad-input", ("/family/hidden/0",), "greater than 0"),
    "unknown family": Case(model(family={"name": NOBODY}), 422, "bad-input", ("/family",)),
    "family that cannot read vectors": Case(model(family={"name": "cnn"}), 422, "bad-input", ("/family",)),
    "rate out of bounds": Case(
        model(training={"optimizer": {"name": "sgd", "lr": 1e9}}), 422, "bad-input", ("/training/optimizer/lr",)),
    "model on a data set that does not exist": Case(model(dataset="absent"), 404, "not-found", ()),
    "model of a taken name": Case(model(name="m"), 409, "already-exists", ()),
    "policy that goes on after retraining": Case(
        lambda api: api.put("/models/m/policy", json={"ladder": [{"name": "retrain"}, {"name": "nabla_tau"}]}),
        422, "bad-input", ("",), "no rung can follow"),
    "policy of a model that does not exist": Case(
        lambda api: api.put("/models/absent/policy", json={}), 404, "not-found", ()),
    "id that is no id": Case(lambda api: api.get(f"/deletion-requests/{NOBODY}"), 422, "bad-input", ("/request_id",)),
    "name with a NUL": Case(lambda api: api.get("/models/m%00"), 422, "bad-input", ("/name",)),
    "version beyond all numbers": Case(
        lambda api: api.get(f"/models/m/versions/{10**30}/weights"), 422, "bad-input", ("/number",)),
    "ledger entry beyond all numbers": Case(
        lambda api: api.get(f"/ledger/entries/{10**30}"), 422, "bad-input", ("/index",)),
    "page token of another collection": Case(
        lambda api: api.get("/deletion-requests?page_token=MTIz"), 422, "bad-input", ("/page_token",)),
    "state that does not exist": Case(
        lambda api: api.get("/deletion-requests?state=forgotten"), 422, "bad-input", ("/state",)),
    "page without a size": Case(
        lambda api: api.get("/deletion-requests?page_size=0"), 422, "bad-input", ("/page_size",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_named_by_place_and_changes_nothing(
    service: Service, case: Case, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = stored(service.engine), files(service.store)

    answer = case.send(service.api)

    problem = answer.json()
    logged = "".join(capfd.readouterr()) + caplog.text
    assert (answer.status_code, problem["status"]) == (case.status, case.status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.keys() == KEYS
    assert problem["type"] == f"/docs/problems#{case.slug}"
    assert all(problem[text] for text in ("title", "detail", "hint"))
    assert {error["pointer"] for error in problem["errors"]} >= set(case.pointers)
    assert case.says in " ".join([problem["detail"], *(error["detail"] for error in problem["errors"])])
    assert not PERSONAL.search(answer.text + logged)
    assert "8222157" not in answer.text + logged
    assert (stored(service.engine), files(service.store)) == before
