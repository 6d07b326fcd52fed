"""Every family of the menu, against the list of tensors that the service knows without torch."""

from math import prod

import pytest
import torch
from pydantic import ValidationError
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from service.domain.architectures import sizes, tensors
from service.domain.recipes import (
    Cnn,
    Image,
    Logistic,
    Mlp,
    ResNet18,
    Spec,
    TextTransformer,
    Tokens,
    Vector,
    Vgg16Bn,
    VitTiny,
)
from service.errors import BadInput
from worker.registry import Registry, family
from worker.training import OWN, build
from worker.transformer import attend

SPELT = {torch.float32: "F32", torch.int64: "I64"}
VECTOR, TEXT = Vector(features=7), Tokens(length=6, vocabulary=11)
GREY, COLOUR = Image(channels=1, height=28, width=28), Image(channels=3, height=9, width=17)
EVEN = Image(channels=3, height=8, width=12)
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
        (Vgg16Bn(width=2), COLOUR, 5),
        (Vgg16Bn(width=1), Image(channels=1, height=1, width=1), 2),
        (VitTiny(width=6, depth=2), EVEN, 5),
        (VitTiny(width=4, depth=1, heads=1, patch=7), GREY, 2),
        (TextTransformer(width=8, depth=2, heads=2), TEXT, 3),
        (TextTransformer(width=3, depth=1, heads=1), Tokens(length=1, vocabulary=3), 2),
    ]
]


def rows(spec: Spec, n: int) -> torch.Tensor:
    if isinstance(spec.input, Tokens):
        return torch.randint(spec.input.vocabulary, (n, spec.input.length))
    return torch.rand(n, *sizes(spec.input))


def fresh(spec: Spec, seed: int = 0) -> torch.nn.Module:
    return build(spec, torch.Generator().manual_seed(seed))


def test_every_family_of_the_menu_is_tested_here():
    assert {type(spec.family) for spec in SPECS} == set(family.recipes()) - set(OWN)


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


PICKY = [(f, shape, "pictures") for f in (Cnn(), ResNet18(), Vgg16Bn(), VitTiny()) for shape in (VECTOR, TEXT)]
PICKY += [(TextTransformer(), shape, "texts") for shape in (VECTOR, GREY)]
PICKY += [(f, TEXT, "vectors or pictures") for f in (Logistic(), Mlp())]


@pytest.mark.parametrize(("picky", "shape", "wanted"), PICKY)
def test_a_family_refuses_rows_of_another_kind(picky, shape, wanted):
    spec = Spec(family=picky, input=shape, classes=2)

    with pytest.raises(BadInput, match=f"takes {wanted}, not "):
        tensors(spec)
    with pytest.raises(BadInput, match=f"takes {wanted}, not "):
        fresh(spec)


def test_a_picture_that_patches_do_not_cover_is_refused():
    spec = Spec(family=VitTiny(patch=4), input=Image(channels=1, height=8, width=10), classes=2)

    for look in (tensors, fresh):
        with pytest.raises(BadInput, match=r"8 × 10 cannot be cut into patches of side 4") as caught:
            look(spec)
        assert caught.value.faults[0].pointer == "/family/patch"


@pytest.mark.parametrize("recipe", [VitTiny, TextTransformer])
def test_heads_that_do_not_share_the_width_are_refused(recipe):
    with pytest.raises(ValidationError, match="a width of 50 cannot be shared by"):
        recipe(width=50)


def test_the_cifar_stem_does_not_shrink_the_picture():
    spec = Spec(family=ResNet18(width=2), input=Image(channels=3, height=32, width=32), classes=2)
    model = fresh(spec)

    assert model.conv1.stride == (1, 1)
    assert model.layer4(model.layer3(model.layer2(model.layer1(torch.rand(1, 2, 32, 32))))).shape == (1, 16, 4, 4)


SMALL = [spec for spec in SPECS if spec.family.name in {"vit_tiny", "text_transformer", "vgg16_bn"}]


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: f"{s.family.name}-{s.input.kind}")
def test_per_sample_gradients_are_those_of_one_row_at_a_time(spec):
    model, x, y = fresh(spec).eval(), rows(spec, 3), torch.tensor([0, 1, 0])
    weights, fixed = dict(model.named_parameters()), dict(model.named_buffers())

    def loss(weights, row, label):
        return cross_entropy(functional_call(model, (weights, fixed), (row[None],)), label[None])

    each = vmap(grad(loss), (None, 0, 0))(weights, x, y)

    for i in range(3):
        alone = torch.autograd.grad(loss(weights, x[i], y[i]), list(weights.values()), materialize_grads=True)
        for name, g in zip(weights, alone, strict=True):
            torch.testing.assert_close(each[name][i], g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", SMALL, ids=lambda s: f"{s.family.name}-{s.input.kind}")
def test_every_weight_has_a_gradient(spec):
    model = fresh(spec).eval()

    model(rows(spec, 4)).square().sum().backward()

    assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in model.parameters())


def test_attention_is_torchs_own_with_and_without_a_graph():
    q, k, v = torch.randn(3, 2, 4, 5, 6).unbind()
    known = torch.tensor([[True, True, False, True, False], [True, False, False, False, False]])

    for mask in (known, None):
        wanted = scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])
        torch.testing.assert_close(attend(q, k, v, mask), wanted)
        with torch.no_grad():
            torch.testing.assert_close(attend(q, k, v, mask), wanted)


def test_what_fills_a_text_up_changes_nothing():
    spec = Spec(family=TextTransformer(width=8, heads=2), input=Tokens(length=9, vocabulary=30), classes=3)
    model = fresh(spec).eval()
    short = torch.tensor([[5, 7, 2, 0]])

    filled = model(torch.cat([short, torch.zeros(1, 5, dtype=torch.int64)], dim=1))
    model.positions.weight = torch.nn.Parameter(model.positions.weight[:3].detach().clone())

    torch.testing.assert_close(filled, model(short[:, :3]))


def test_the_order_of_words_matters():
    model = fresh(Spec(family=TextTransformer(width=8, heads=2), input=TEXT, classes=3)).eval()

    one, other = model(torch.tensor([[5, 7, 2, 0, 0, 0], [7, 5, 2, 0, 0, 0]]))

    assert not torch.allclose(one, other)


def test_vgg16_has_thirteen_convolutions_and_halves_five_times():
    model = fresh(Spec(family=Vgg16Bn(width=1), input=Image(channels=3, height=64, width=32), classes=2)).eval()

    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == 13
    assert model[:5](torch.rand(1, 3, 64, 32)).shape == (1, 8, 2, 1)


def test_vit_tiny_has_the_size_of_its_paper():
    spec = Spec(family=VitTiny(patch=16), input=Image(channels=3, height=224, width=224), classes=1000)

    weights = sum(prod(shape) for _, shape in tensors(spec).values())

    assert weights == 5_717_416     # DeiT-Ti, of which the paper says 5M


def test_a_registry_refuses_a_second_entry():
    registry = Registry("family", "worker.families")
    registry(Mlp)(print)

    with pytest.raises(ValueError, match="twice"):
        registry(Mlp)(print)


def test_a_registry_names_the_valid_choices():
    with pytest.raises(BadInput) as caught:
        family.find(VECTOR)

    assert str(caught.value).endswith("there are: " + ", ".join(family.names()))
    assert {spec.family.name for spec in SPECS} < set(family.names())
