"""A `.pt2` file becomes a family that answers as the original does; a crafted one becomes an error and runs nothing."""

import json
import os
import pickle  # noqa: TID251  to make what has to be refused
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from torch import nn

from service.domain.architectures import tensors
from service.domain.recipes import Exported, Image, Spec, Tokens, Vector
from service.errors import BadInput
from tests.worker.programs import BROUGHT, brought, saved, vectors
from worker import checkpoint
from worker.cli import main
from worker.convert import FAMILY, WEIGHTS, convert
from worker.inspection.archive import Archive, Unusable
from worker.inspection.exported import translated
from worker.program import Graph, constant

SHAPES = {
    "pictures": Image(channels=1, height=8, width=8), "texts": Tokens(length=6, vocabulary=50),
    "vectors": Vector(features=6), "mlp": Vector(features=6),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def written(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


def rebuilt(content: bytes, path: Path) -> nn.Module:
    """The model after its translation, with its weights; in this process."""
    family, arrays = translated(Archive(written(content, path)))
    graph = Graph(family.graph)
    graph.load_state_dict({name: torch.from_numpy(array.values.copy()) for name, array in arrays.items()})
    return graph


@pytest.mark.parametrize("name", BROUGHT)
@pytest.mark.parametrize("training", [True, False], ids=["trained", "at rest"])
def test_a_program_answers_as_the_original_does(name, training, tmp_path):
    model, content = brought(name, training=training)
    graph = rebuilt(content, tmp_path / "m.pt2").eval()

    for n in (1, 2, 7):
        x = BROUGHT[name][1](n)
        assert torch.allclose(graph(x), model.eval()(x), atol=1e-6)


@pytest.mark.parametrize("name", BROUGHT)
def test_a_program_that_was_exported_in_training_mode_trains_as_the_original_does(name, tmp_path):
    model, content = brought(name, training=True)
    graph, x = rebuilt(content, tmp_path / "m.pt2").train(), BROUGHT[name][1](5)

    answers = []
    for each in (model, graph):
        torch.manual_seed(1)
        answers.append(each(x))
        answers[-1].square().sum().backward()

    assert torch.allclose(*answers, atol=1e-6)
    ours, theirs = dict(graph.named_parameters()), dict(model.named_parameters())
    for key, weight in ours.items():
        assert (weight.grad is None) == (theirs[key].grad is None)
        assert weight.grad is None or torch.allclose(weight.grad, theirs[key].grad, atol=1e-5)
    moved, statistics = model.state_dict(), dict(graph.named_buffers())
    assert all(torch.allclose(t, moved[key]) for key, t in statistics.items() if "running" in key)


def test_an_input_is_as_it_was_afterwards(tmp_path):
    graph, x = rebuilt(brought("vectors", training=True)[1], tmp_path / "m.pt2"), vectors(4)
    before = x.clone()

    graph(x)

    assert torch.equal(x, before)


def test_tied_unused_and_frozen_tensors_are_what_they_were(tmp_path):
    family, arrays = translated(Archive(written(brought("vectors", training=True)[1], tmp_path / "m.pt2")))

    kinds = {t.name: t.kind for t in family.graph.tensors}
    assert kinds.keys() & {"a.weight", "b.weight", "unused.weight", "unused.bias"} == {"a.weight"}
    assert (kinds["a.bias"], kinds["mask"]) == ("frozen", "constant")
    assert "mask" not in arrays
    (mask,) = (t for t in family.graph.tensors if t.name == "mask")
    assert torch.equal(constant(mask), torch.tril(torch.ones(6, 6)).bool())


@pytest.mark.parametrize("name", ["pictures", "texts"])
def test_the_sandbox_writes_a_family_and_weights_that_load(name, tmp_path):
    model, content = brought(name, training=False)
    path, x = written(content, tmp_path / "m.pt2"), BROUGHT[name][1](4)

    told = convert(path, tmp_path / "out")

    family = Exported.model_validate_json((tmp_path / "out" / FAMILY).read_text())
    spec = Spec(family=family, input=SHAPES[name], classes=3)
    loaded = checkpoint.load(spec, tmp_path / "out" / WEIGHTS)
    assert family == told
    assert torch.allclose(loaded(x), model(x), atol=1e-6)
    assert {n: s for n, (_, s) in tensors(spec).items()} == {n: tuple(t.shape) for n, t in loaded.state_dict().items()}


def test_the_command_says_what_to_do_about_fixed_statistics(tmp_path, capsys):
    path = written(brought("pictures", training=False)[1], tmp_path / "m.pt2")

    with pytest.raises(SystemExit) as ended:
        main(["convert", str(path), "--out", str(tmp_path / "out")])

    assert ended.value.code == 0
    assert "model.train()" in capsys.readouterr().err
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [FAMILY, WEIGHTS]


# ---- programs that cannot be verified -------------------------------------------------------------------------------


class Odd(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head = how, nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.how:
            case "an operator that is not pure":
                return self.head(x + torch.rand_like(x))
            case "its own state":
                self.seen.add_(1)
                return self.head(x)
            case "two outputs":
                return self.head(x), x
            case "a shared tensor in place":
                y = x + 1
                z = y.view(-1, 2)
                y.relu_()
                return self.head(z.view(-1, 6))
            case _:
                return self.head(x).double()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("an operator that is not pure", "rand_like"),
        ("its own state", "changes its own"),
        ("two outputs", "one tensor"),
        ("a shared tensor in place", "inplace=False"),
        ("doubles", "32 bits"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_a_reason(how, says, tmp_path):
    path = written(saved(Odd(how), vectors(3)), tmp_path / "m.pt2")

    with pytest.raises(Unusable, match=says):
        translated(Archive(path))


def test_a_fixed_number_of_rows_is_refused_with_the_way_to_export(tmp_path):
    path = written(saved(nn.Linear(6, 3), vectors(3), dynamic=False), tmp_path / "m.pt2")

    with pytest.raises(BadInput, match="dynamic_shapes"):
        convert(path, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({}), b"\0" * 1000])
def test_what_is_no_archive_is_refused(content, tmp_path):
    with pytest.raises(Unusable, match=r"torch\.export\.save"):
        Archive(written(content, tmp_path / "m.pt2"))


# ---- crafted archives -----------------------------------------------------------------------------------------------


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def pickled(marker: Path) -> bytes:
    """A file of torch.save with the payload."""
    file = BytesIO()
    torch.save(Payload(marker), file)
    return file.getvalue()


def crafted(content: bytes, place: str, marker: Path) -> bytes:
    """The archive with the payload in one place that torch.export.load looks at."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(parts)).partition("/")[0]
    model = json.loads(parts[f"{root}/models/model.json"])
    kinds = ("weights", "constants")
    configs = {kind: json.loads(parts[f"{root}/data/{kind}/model_{kind}_config.json"]) for kind in kinds}
    match place:
        case "a weight" | "a constant":
            kind = "weights" if place == "a weight" else "constants"
            entry = next(iter(configs[kind]["config"].values()))
            entry |= {"use_pickle": True, "path_name": {"weights": "weight_evil", "constants": "tensor_evil"}[kind]}
            parts[f"{root}/data/{kind}/{entry['path_name']}"] = pickled(marker)
        case "an opaque object":
            told = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
            configs["constants"]["config"]["evil"] = told
            parts[f"{root}/data/constants/opaque_obj_0"] = pickle.dumps(Payload(marker))
        case "weights of the old kind":
            parts[f"{root}/data/weights/model.pt"] = pickled(marker)
            del parts[f"{root}/data/weights/model_weights_config.json"]
        case "a formula":
            sides = next(v["sizes"] for v in model["graph_module"]["graph"]["tensor_values"].values()
                         if "as_expr" in str(v["sizes"]))
            sides[0]["as_expr"]["expr_str"] = f"__import__('os').mkdir({str(marker)!r}) or 3"
        case _:
            parts[f"{root}/data/sample_inputs/model.pt"] = pickled(marker)
    parts[f"{root}/models/model.json"] = json.dumps(model).encode()
    for kind, config in configs.items():
        name = f"{root}/data/{kind}/model_{kind}_config.json"
        parts |= {name: json.dumps(config).encode()} if name in parts else {}
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return file.getvalue()


PLACES = ("a weight", "a constant", "an opaque object", "weights of the old kind", "a formula", "sample inputs")
LOAD = """
import sys, torch, warnings
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    try:
        torch.export.load(path)
    except Exception:
        pass
"""


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one crafted file per place, and no marker."""
    folder = tmp_path_factory.mktemp("evil")
    content = brought("vectors", training=True)[1]
    for i, place in enumerate(PLACES):
        written(crafted(content, place, folder / f"marker{i}"), folder / f"{i}.pt2")
    return folder


@pytest.mark.parametrize("place", PLACES[:-1])
def test_a_crafted_file_is_refused_and_nothing_in_it_runs(place, evil, tmp_path):
    i = PLACES.index(place)

    with pytest.raises(BadInput, match="cannot be converted"):
        convert(evil / f"{i}.pt2", tmp_path / "out")

    assert not (evil / f"marker{i}").exists()
    assert not (tmp_path / "out").exists()


def test_sample_inputs_are_not_looked_at(evil, tmp_path):
    i = PLACES.index("sample inputs")

    convert(evil / f"{i}.pt2", tmp_path / "out")

    assert (tmp_path / "out" / WEIGHTS).exists()
    assert not (evil / f"marker{i}").exists()


@pytest.mark.slow
def test_the_same_files_do_run_code_where_torch_loads_them(evil):
    paths = [evil / f"{i}.pt2" for i in range(len(PLACES))]

    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True, capture_output=True)

    ran = [i for i in range(len(PLACES)) if (evil / f"marker{i}").exists()]
    for i in ran:
        (evil / f"marker{i}").rmdir()
    assert [PLACES[i] for i in ran] == list(PLACES)
