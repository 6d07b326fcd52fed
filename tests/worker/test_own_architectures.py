"""Architectures of one's own are trained, unlearned and trained anew like those of the menu."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from service.domain.recipes import Exported, Image, NablaTau, Python, Retrain, Spec, Training, Vector
from service.domain.recipes.own import Program
from service.errors import BadInput, InvalidWeights
from tests.worker.conftest import rng
from tests.worker.programs import BROUGHT, brought
from worker import checkpoint, trust
from worker.data import Rows, Split
from worker.inference import accuracy
from worker.inspection.archive import Archive
from worker.inspection.exported import translated
from worker.program import TABLE, Graph
from worker.training import build, train
from worker.unlearning import unlearn

PACKAGE = """
import os
from os import system
from torch import nn

def net(shape, classes):
    return nn.Sequential(nn.Linear(shape.features, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, classes))

def nothing(shape, classes):
    return "net"
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that is trusted, and importable for as long as the test runs."""
    (tmp_path / "expunge_nets_").mkdir()
    (tmp_path / "expunge_nets_" / "__init__.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trust, "_trusted", {"expunge_nets_"})
    return "expunge_nets_"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """The programs that users might bring, exported in training mode."""
    folder = tmp_path_factory.mktemp("programs")
    for name in BROUGHT:
        (folder / name).write_bytes(brought(name, training=True)[1])
    return {name: translated(Archive(folder / name))[0] for name in BROUGHT}


def of_vectors(family: Exported | Python, **training: object) -> Spec:
    recipe = Training(epochs=40, batch=16).model_copy(update=training)
    return Spec(family=family, training=recipe, input=Vector(features=6), classes=3)


def labelled(n: int, seed: int) -> Rows:
    x = torch.randn(n, 6, generator=rng(seed))
    return Rows(x, x[:, :3].argmax(dim=1))


def parts() -> Split:
    return Split(labelled(120, 1), labelled(12, 2), labelled(60, 3))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# ---- of a package ---------------------------------------------------------------------------------------------------


def test_a_factory_is_trained_unlearned_retrained_and_stored(package, tmp_path):
    spec, split = of_vectors(Python(factory=f"{package}:net")), parts()

    model = train(spec, Rows(torch.cat([split.retain.x, split.forget.x]), torch.cat([split.retain.y, split.forget.y])))
    forgot = unlearn(model, split, NablaTau(), rng=rng()).model
    anew = unlearn(model, split, Retrain(), rng=rng(), spec=spec).model
    checkpoint.save(forgot, tmp_path / "w")

    assert accuracy(model, split.retain) > 0.8
    assert not same(forgot, model)
    assert same(anew, train(spec, split.retain))
    assert same(checkpoint.load(spec, tmp_path / "w"), forgot)


def test_the_same_seed_begins_with_the_same_bits_and_the_global_generator_stays(package):
    spec = of_vectors(Python(factory=f"{package}:net"))
    before = torch.get_rng_state()

    one, same_, other = build(spec, rng(3)), build(spec, rng(3)), build(spec, rng(4))

    assert same(one, same_)
    assert not same(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_of_another_module_are_refused_with_the_names(package, tmp_path):
    save_file({"0.weight": torch.zeros(16, 6), "tail": torch.zeros(1)}, tmp_path / "w")

    with pytest.raises(InvalidWeights) as caught:
        checkpoint.load(of_vectors(Python(factory=f"{package}:net")), tmp_path / "w")

    assert {"/0.bias", "/tail"} <= {fault.pointer for fault in caught.value.faults}


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("os:system", "has not listed the package 'os'"),
        ("expunge_nets_.missing:net", "no factory"),
        ("expunge_nets_:missing", "no factory"),
        ("expunge_nets_..x:net", "no factory"),
        ("expunge_nets_:system", "of the package 'expunge_nets_' itself"),
        ("expunge_nets_:os", "of the package 'expunge_nets_' itself"),
        ("expunge_nets_:nothing", "no module"),
    ],
)
def test_what_is_no_factory_of_a_listed_package_is_refused(package, factory, says):
    with pytest.raises(BadInput, match=says):
        build(of_vectors(Python(factory=factory)), rng())


def test_nothing_is_trusted_unless_it_is_said(monkeypatch):
    monkeypatch.setattr(trust, "_trusted", set())

    with pytest.raises(BadInput, match="EXPUNGE_ARCHITECTURES"):
        train(of_vectors(Python(factory="torchvision.models:resnet18")), labelled(4, 0))

    trust.allow({"expunge_nets_"})
    trust.refuse_stranger(Python(factory="expunge_nets_.x:net"))


# ---- exported -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vectors", "mlp"])
def test_a_program_is_trained_unlearned_and_retrained(name, exported):
    spec, split = of_vectors(exported[name], epochs={"vectors": 4, "mlp": 40}[name]), parts()

    model = train(spec, Rows(torch.cat([split.retain.x, split.forget.x]), torch.cat([split.retain.y, split.forget.y])))
    forgot = unlearn(model, split, NablaTau(), rng=rng()).model
    anew = unlearn(model, split, Retrain(), rng=rng(), spec=spec).model

    assert not same(forgot, model)
    assert same(anew, train(spec, split.retain))
    if name == "mlp":
        assert accuracy(model, split.retain) > 0.8


def test_first_weights_are_those_of_torchs_layers(exported):
    spec = Spec(family=exported["texts"], input={"kind": "tokens", "length": 6, "vocabulary": 50}, classes=3)

    state = build(spec, rng()).state_dict()

    bound = 1 / sqrt(8)
    assert 0.8 * bound < state["encoder.linear1.weight"].abs().max() <= bound
    assert state["encoder.linear1.bias"].abs().max() <= bound
    assert state["encoder.linear2.weight"].abs().max() <= 1 / sqrt(16)
    assert torch.equal(state["norm.weight"], torch.ones(8))
    assert torch.equal(state["norm.bias"], torch.zeros(8))
    assert torch.equal(state["words.weight"][0], torch.zeros(8))
    assert 0.8 < state["words.weight"][1:].std() < 1.2
    assert 0.01 < state["positions"].std() < 0.03


def test_normalisation_moves_in_training_and_stays_by_default_when_rows_are_forgotten(exported):
    spec = Spec(family=exported["pictures"], input=Image(channels=1, height=8, width=8), classes=3)
    rows = Rows(torch.rand(20, 1, 8, 8, generator=rng()), torch.arange(20) % 3)
    fresh, trained = build(spec, rng()), train(spec.model_copy(update={"training": Training(epochs=1, batch=8)}), rows)
    split = Split(rows.take(torch.arange(4, 14)), rows.take(torch.arange(4)), rows.take(torch.arange(14, 20)))

    at_rest = unlearn(trained, split, NablaTau(), rng=rng()).model
    moving = unlearn(trained, split, NablaTau(bn="train"), rng=rng()).model

    statistics = {name for name, _ in fresh.named_buffers()}
    assert statistics == {f"{bn}.running_{what}" for bn in ("stem.1", "bn") for what in ("mean", "var")}
    assert torch.equal(fresh.state_dict()["bn.running_var"], torch.ones(4))
    assert not torch.equal(trained.state_dict()["bn.running_var"], torch.ones(4))
    assert all(torch.equal(at_rest.state_dict()[n], trained.state_dict()[n]) for n in statistics)
    assert not any(torch.equal(moving.state_dict()[n], trained.state_dict()[n]) for n in statistics)


def test_the_table_has_exactly_the_operators_of_the_menu():
    from service.domain.recipes.operators import OPERATORS

    assert set(TABLE) == OPERATORS
    assert all(TABLE[name].name() == name.replace("aten.", "aten::").removesuffix(".default")
               for name in OPERATORS if name.startswith("aten."))


def test_a_result_that_nobody_asks_for_again_is_let_go(exported):
    graph = Graph(exported["mlp"].graph)
    seen: list[object] = []

    graph.run(torch.zeros(2, 6), seen.append)

    assert graph._last[:2] == [[0], [1]]
    assert len(seen) == 3


# ---- programs that nobody exported ----------------------------------------------------------------------------------

WEIGHT = {"name": "w", "kind": "parameter", "shape": [3, 6]}
LINEAR = {"op": "aten.linear.default", "args": {"input": {"result": 0}, "weight": {"tensor": "w"}}}


def drawn(*nodes: dict, **changes: object) -> dict:
    held = {"input": {"shape": [6]}, "tensors": [WEIGHT], "nodes": list(nodes), "output": len(nodes), "outputs": 3}
    return {"name": "exported", "graph": held | changes}


def test_a_program_by_hand_is_what_it_says():
    model = build(of_vectors(Exported.model_validate(drawn(LINEAR))), rng())
    x = torch.randn(4, 6)

    assert torch.equal(model(x), x @ model.state_dict()["w"].T)


UNRUNNABLE = {
    "shapes that do not fit": drawn(LINEAR | {"args": LINEAR["args"] | {"input": {"tensor": "w"}}}),
    "another output": drawn(LINEAR, {"op": "aten.t.default", "args": {"self": {"result": 1}}}),
    "an argument that is none": drawn(LINEAR | {"args": LINEAR["args"] | {"out": {"result": 0}}}),
    "no argument": drawn({"op": "aten.linear.default", "args": {}}),
    "too large": drawn(LINEAR, {"op": "aten.ones.default", "args": {"size": [2**40]}},
                       {"op": "aten.add.Tensor", "args": {"self": {"result": 1}, "other": {"result": 1}}}),
    "too many results": drawn(LINEAR | {"unpack": 2}, output=1),
    "a name that a module has": drawn(
        LINEAR | {"args": LINEAR["args"] | {"weight": {"tensor": "forward"}}}, tensors=[WEIGHT | {"name": "forward"}]
    ),
    "a name that is also a place": drawn(LINEAR, tensors=[WEIGHT, WEIGHT | {"name": "w.x"}]),
    "statistics that are missing": drawn(
        {"op": "aten.batch_norm.default", "args": {"input": {"result": 0}, "training": True}}, LINEAR
    ),
}


@pytest.mark.parametrize("family", UNRUNNABLE.values(), ids=UNRUNNABLE)
def test_a_program_that_cannot_be_run_is_refused_before_a_number_is_computed(family):
    with pytest.raises(BadInput, match="cannot be run"):
        build(of_vectors(Exported.model_validate(family)), rng())


def test_a_program_for_other_rows_is_refused():
    spec = Spec(family=Exported.model_validate(drawn(LINEAR)), input=Vector(features=7), classes=3)

    with pytest.raises(BadInput, match=r"F32 \[6\] to 3 outputs"):
        build(spec, rng())


UNSPEAKABLE = {
    "an operator that is not on the menu": drawn(LINEAR | {"op": "aten.from_file.default"}),
    "an attribute of torch": drawn(LINEAR | {"op": "aten.__class__.default"}),
    "a later result": drawn(LINEAR | {"args": LINEAR["args"] | {"input": {"result": 1}}}),
    "a tensor that is not there": drawn(LINEAR, tensors=[]),
    "an output that is not there": drawn(LINEAR, output=2),
    "a name twice": drawn(LINEAR, tensors=[WEIGHT, WEIGHT]),
    "more numbers than memory": drawn(LINEAR, tensors=[WEIGHT | {"shape": [2**31, 2**31]}]),
    "a constant without data": drawn(LINEAR, tensors=[WEIGHT | {"kind": "constant"}]),
    "a constant with too few data": drawn(LINEAR, tensors=[WEIGHT | {"kind": "constant", "data": "AAAA"}]),
    "a weight with data": drawn(LINEAR, tensors=[WEIGHT | {"data": "AAAA"}]),
    "a weight of doubles": drawn(LINEAR, tensors=[WEIGHT | {"dtype": "F64"}]),
    "a list in a list": drawn(LINEAR | {"args": LINEAR["args"] | {"bias": [[1]]}}),
    "code for a word": drawn(LINEAR | {"args": LINEAR["args"] | {"bias": "__import__('os')"}}),
}


@pytest.mark.parametrize("family", UNSPEAKABLE.values(), ids=UNSPEAKABLE)
def test_a_program_that_is_none_is_no_value_of_the_menu(family):
    with pytest.raises(ValueError, match="graph"):
        Exported.model_validate(family)


def test_a_program_is_the_same_after_a_trip_through_json(exported):
    for family in exported.values():
        assert Exported.model_validate(json.loads(json.dumps(family.model_dump(mode="json")))) == family
        assert isinstance(family.graph, Program)


def test_gradients_per_row_are_those_of_single_rows(exported):
    model = Graph(exported["mlp"].graph)
    x, weights = torch.randn(3, 6), dict(model.named_parameters())

    def answer(held: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, held, (row[None],)).square().sum()

    at_once = torch.func.vmap(torch.func.grad(answer), in_dims=(None, 0))(weights, x)

    for i in range(3):
        alone = torch.func.grad(answer)(weights, x[i])
        assert all(torch.allclose(at_once[name][i], alone[name], atol=1e-6) for name in weights)

