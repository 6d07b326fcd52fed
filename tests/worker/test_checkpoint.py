"""Weights in files: what is written comes back, and nothing else gets in."""

from hashlib import sha256

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from service.domain.recipes import Image, Mlp, ResNet18, Spec, Vector
from service.errors import InvalidWeights
from worker import checkpoint
from worker.training import build

MLP = Spec(family=Mlp(hidden=(3,)), input=Vector(features=4), classes=2)
RESNET = Spec(family=ResNet18(width=1), input=Image(channels=1, height=8, width=8), classes=2)


def fresh(spec: Spec, seed: int = 0) -> nn.Module:
    return build(spec, torch.Generator().manual_seed(seed))


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("spec", [MLP, RESNET], ids=["mlp", "resnet18"])
def test_weights_and_buffers_come_back(spec, tmp_path):
    model = fresh(spec)
    checkpoint.save(model, tmp_path / "w.safetensors")

    from_recipe = checkpoint.load(spec, tmp_path / "w.safetensors")
    into_module = checkpoint.load(fresh(spec, seed=1), tmp_path / "w.safetensors")

    assert same(from_recipe, model)
    assert same(into_module, model)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    checkpoint.save(fresh(MLP), tmp_path / "one")
    checkpoint.save(fresh(MLP), tmp_path / "two")
    written = (tmp_path / "one").read_bytes()

    assert written == (tmp_path / "two").read_bytes()
    assert checkpoint.digest(fresh(MLP)) == sha256(written).hexdigest()
    assert checkpoint.digest(fresh(MLP, seed=1)) != sha256(written).hexdigest()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight


def test_a_tied_tensor_is_written_once_and_stays_tied(tmp_path):
    model, other = Tied(), Tied()
    checkpoint.save(model, tmp_path / "w")

    checkpoint.load(other, tmp_path / "w")

    assert list(load_file(tmp_path / "w")) == ["a.weight"]
    assert same(model, other)
    assert other.a.weight is other.b.weight


def test_a_transposed_tensor_is_written_as_it_reads(tmp_path):
    model = nn.Linear(3, 2, bias=False)
    model.weight = nn.Parameter(torch.arange(6.0).reshape(3, 2).T)

    checkpoint.save(model, tmp_path / "w")

    assert torch.equal(load_file(tmp_path / "w")["weight"], model.weight)


def spoilt(change: str) -> dict[str, torch.Tensor]:
    state = {name: t.clone() for name, t in fresh(MLP).state_dict().items()}
    match change:
        case "name":
            state["tail.bias"] = state.pop("head.bias")
        case "shape":
            state["head.bias"] = torch.zeros(3)
        case "dtype":
            state["head.bias"] = state["head.bias"].double()
        case "nan":
            state["head.bias"][0] = float("nan")
        case "infinite":
            state["head.bias"][0] = float("inf")
    return state


@pytest.mark.parametrize("change", ["name", "shape", "dtype", "nan", "infinite"])
def test_another_architectures_weights_are_refused_and_change_nothing(change, tmp_path):
    save_file(spoilt(change), tmp_path / "w")
    model = fresh(MLP, seed=1)

    with pytest.raises(InvalidWeights) as caught:
        checkpoint.load(model, tmp_path / "w")

    assert "/head.bias" in {fault.pointer for fault in caught.value.faults}
    assert same(model, fresh(MLP, seed=1))


def test_a_pickle_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.")

    with pytest.raises(InvalidWeights):
        checkpoint.load(MLP, tmp_path / "w")
