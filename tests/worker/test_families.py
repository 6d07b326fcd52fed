"""Every family of the menu, against the list of tensors that the service knows without torch."""

import pytest
import torch

from service.domain.architectures import tensors
from service.domain.recipes import Cnn, Image, Logistic, Mlp, ResNet18, Spec, Vector
from service.errors import BadInput
from worker.registry import Registry, family
from worker.training import build

SPELT = {torch.float32: "F32", torch.int64: "I64"}
VECTOR, GREY, COLOUR = Vector(features=7), Image(channels=1, height=28, width=28), Image(channels=3, height=9, width=17)
SPECS = [
    Spec(family=f, input=shape, classes=classes)
    for f, shape, classes in [
        (Logistic(), VECTOR, 2),
        (Logistic(), COLOUR, 3),
        (Mlp(hidden=(5,)), VECTOR, 2),
        (Mlp(hidden=(6, 4, 3)), GREY, 10),
        (Cnn(width=2), GREY, 10),
        (Cnn(width=3), COLOUR, 4),
        (Cnn(width=1), Image(channels=3, height=1, width=1), 2),
        (ResNet18(width=4), COLOUR, 5),
        (ResNet18(width=1), GREY, 2),
    ]
]


def rows(spec: Spec, n: int) -> torch.Tensor:
    shape = spec.input
    return torch.rand(n, shape.features) if isinstance(shape, Vector) else torch.rand(
        n, shape.channels, shape.height, shape.width
    )


def fresh(spec: Spec, seed: int = 0) -> torch.nn.Module:
    return build(spec, torch.Generator().manual_seed(seed))


def test_every_family_of_the_menu_is_tested_here():
    assert {type(spec.family) for spec in SPECS} == set(family.recipes())


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.family.name}-{s.input.kind}")
def test_the_service_knows_every_tensor_in_order(spec):
    real = {name: (SPELT[t.dtype], tuple(t.shape)) for name, t in fresh(spec).state_dict().items()}

    assert list(tensors(spec).items()) == list(real.items())


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.family.name}-{s.input.kind}")
def test_a_row_becomes_one_finite_number_per_class(spec):
    out = fresh(spec).eval()(rows(spec, 3))

    assert out.shape == (3, spec.classes)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.family.name}-{s.input.kind}")
def test_first_weights_come_from_the_generator_alone(spec):
    torch.manual_seed(1)
    one = fresh(spec, seed=3).state_dict()
    torch.manual_seed(2)
    same, other = fresh(spec, seed=3).state_dict(), fresh(spec, seed=4).state_dict()

    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("picky", [Cnn(), ResNet18()])
def test_a_convolution_refuses_vectors(picky):
    spec = Spec(family=picky, input=VECTOR, classes=2)

    with pytest.raises(BadInput, match="pictures"):
        tensors(spec)
    with pytest.raises(BadInput, match="pictures"):
        fresh(spec)


def test_the_cifar_stem_does_not_shrink_the_picture():
    spec = Spec(family=ResNet18(width=2), input=Image(channels=3, height=32, width=32), classes=2)
    model = fresh(spec)

    assert model.conv1.stride == (1, 1)
    assert model.layer4(model.layer3(model.layer2(model.layer1(torch.rand(1, 2, 32, 32))))).shape == (1, 16, 4, 4)


def test_a_registry_refuses_a_second_entry():
    registry = Registry("family", "worker.families")
    registry(Mlp)(print)

    with pytest.raises(ValueError, match="twice"):
        registry(Mlp)(print)


def test_a_registry_names_the_valid_choices():
    with pytest.raises(BadInput, match="cnn, logistic, mlp, resnet18"):
        family.find(VECTOR)
