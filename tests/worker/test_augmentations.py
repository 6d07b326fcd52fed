"""Augmentations against Pillow, brute force and closed forms; what they are handed, and that they keep the rules."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageEnhance, ImageOps
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy, one_hot

from service.domain.recipes import (
    Augmentation,
    CropFlip,
    Cutout,
    Mixup,
    NoAugmentation,
    RandAugment,
    Trivial,
)
from service.errors import BadInput
from worker import augmenting
from worker.augmentations.crop_flip import crop
from worker.augmentations.cutout import blanked
from worker.augmentations.mixup import shares
from worker.augmentations.pictures import Operation, autocontrast, equalize, identity, one_each
from worker.augmentations.randaugment import SPACE
from worker.augmentations.trivial import WIDE
from worker.data import Augment, Batch, Rows
from worker.distributed import share
from worker.registry import augmentation

H, W = 12, 17
OF_PICTURES = [CropFlip(), Cutout(), Trivial(), RandAugment(), RandAugment(n=8, m=30)]
ALL: list[Augmentation] = [*OF_PICTURES, Mixup()]
named = pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.model_dump_json())
grey_and_colour = pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(n: int, channels: int, side: tuple[int, int] = (H, W)) -> Tensor:
    """Pictures of bytes that do not use all levels."""
    return torch.randint(20, 230, (n, channels, *side), generator=rng(), dtype=torch.uint8)


def batch(n: int = 40, channels: int = 3, side: tuple[int, int] = (8, 8)) -> Batch:
    return Batch(levels(n, channels, side).float() / 255, torch.arange(n) % 4)


def augment(recipe: Augmentation, given: Batch) -> Batch:
    found = augmenting.of(recipe, Rows(given.x, torch.zeros(len(given.x))))
    assert found is not None
    return found(given)


def to_pillow(picture: Tensor) -> Pillow.Image:
    array = picture.permute(1, 2, 0).numpy()
    return Pillow.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def in_levels(picture: Tensor) -> np.ndarray:
    return (picture * 255).round().permute(1, 2, 0).numpy().astype(int)


def affine(*matrix: float) -> Callable[[Pillow.Image], Pillow.Image]:
    """From places in the result to places in the picture, both in pixels from the top left corner."""
    return lambda image: image.transform(image.size, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.NEAREST)


def turned(angle: float) -> Callable[[Pillow.Image], Pillow.Image]:
    c, s = math.cos(angle), math.sin(angle)
    x, y = W / 2, H / 2
    return affine(c, s, x - c * x - s * y, -s, c, y + s * x - c * y)


# An operation, its strength, what Pillow does instead, and by how many levels its rounding may differ.
CASES: dict[str, tuple[Operation, float, Callable[[Pillow.Image], Pillow.Image], int]] = {
    "identity": (identity, 1, lambda i: i, 0),
    "autocontrast": (autocontrast, 1, ImageOps.autocontrast, 1),
    "equalize": (equalize, 1, ImageOps.equalize, 0),
    "solarize at none": (WIDE.solarize, 0, lambda i: ImageOps.solarize(i, 256), 0),
    "solarize": (WIDE.solarize, 0.5, lambda i: ImageOps.solarize(i, 128), 0),
    "solarize at full": (WIDE.solarize, -1, lambda i: ImageOps.solarize(i, 0), 0),
    "posterize, widely": (WIDE.posterize, 1, lambda i: ImageOps.posterize(i, 2), 0),
    "posterize, at half": (WIDE.posterize, 0.5, lambda i: ImageOps.posterize(i, 5), 0),
    "posterize, randaugment's": (SPACE.posterize, -1, lambda i: ImageOps.posterize(i, 4), 0),
    "brighter": (WIDE.brightness, 1, lambda i: ImageEnhance.Brightness(i).enhance(1.99), 1),
    "darker": (SPACE.brightness, -1, lambda i: ImageEnhance.Brightness(i).enhance(0.1), 1),
    "more colour": (WIDE.colour, 0.5, lambda i: ImageEnhance.Color(i).enhance(1.495), 1),
    "less colour": (WIDE.colour, -1, lambda i: ImageEnhance.Color(i).enhance(0.01), 1),
    "more contrast": (WIDE.contrast, 1, lambda i: ImageEnhance.Contrast(i).enhance(1.99), 2),
    "less contrast": (SPACE.contrast, -0.5, lambda i: ImageEnhance.Contrast(i).enhance(0.55), 2),
    "sharper": (WIDE.sharpness, 1, lambda i: ImageEnhance.Sharpness(i).enhance(1.99), 2),
    "smoother": (WIDE.sharpness, -1, lambda i: ImageEnhance.Sharpness(i).enhance(0.01), 2),
    "shear aside": (WIDE.shear_x, 1, affine(1, 0.99, 0, 0, 1, 0), 0),
    "shear down": (SPACE.shear_y, -0.7, affine(1, 0, 0, -0.21, 1, 0), 0),
    "move aside": (WIDE.translate_x, 0.2, affine(1, 0, 0.2 * W, 0, 1, 0), 0),
    "move down": (SPACE.translate_y, -0.5, affine(1, 0, 0, 0, 1, -0.5 * H * 150 / 331), 0),
    "turn, widely": (WIDE.rotated, 1, turned(math.radians(135)), 0),
    "turn": (SPACE.rotated, -1, turned(math.radians(-30)), 0),
}


@grey_and_colour
@pytest.mark.parametrize("case", CASES)
def test_an_operation_does_what_pillow_does(case: str, channels: int) -> None:
    operation, strength, expected, tolerance = CASES[case]
    pictures = levels(4, channels)

    done = operation(pictures.float() / 255, torch.full((4,), float(strength)))

    for picture, result in zip(pictures, done, strict=True):
        wanted = np.array(expected(to_pillow(picture))).astype(int).reshape(H, W, channels)
        assert np.abs(in_levels(result) - wanted).max() <= tolerance


def test_a_picture_of_32_pixels_moves_by_32_at_most() -> None:
    assert [WIDE.translate(side) for side in (8, 32, 224)] == [8, 32, 32]


def test_a_colour_of_a_single_level_survives_all_that_stretches_levels() -> None:
    flat = torch.full((2, 3, H, W), 0.4)

    assert torch.allclose(autocontrast(flat, torch.ones(2)), flat)
    assert torch.allclose(equalize(flat, torch.ones(2)), flat)


@pytest.mark.parametrize("space", [WIDE, SPACE], ids=["trivial", "randaugment"])
def test_each_picture_goes_through_its_own_operation_and_back_to_its_place(space) -> None:
    operations = space.operations()
    x = levels(60, 3).float() / 255
    choice, t = torch.randint(len(operations), (60,), generator=rng(1)), torch.rand(60, generator=rng(2)) * 2 - 1

    done = one_each(x, choice, t, operations)

    for i in range(60):
        assert torch.allclose(done[i], operations[int(choice[i])](x[i : i + 1], t[i : i + 1])[0], atol=1e-6)


def test_there_are_fourteen_operations_as_published() -> None:
    assert len({operation.__name__ for operation in WIDE.operations()}) == 14


def test_no_rows_are_no_rows_afterwards() -> None:
    assert one_each(torch.zeros(0, 3, H, W), torch.zeros(0).long(), torch.zeros(0), WIDE.operations()).shape[0] == 0


def test_a_crop_is_a_window_of_the_padded_picture() -> None:
    x = levels(81 * 2, 3, (6, 5)).float()
    places = torch.cartesian_prod(torch.arange(9), torch.arange(9), torch.arange(2))

    done = crop(x, places[:, 0], places[:, 1], places[:, 2] == 1, 4)

    for picture, (top, left, mirror), result in zip(x, places.tolist(), done, strict=True):
        window = np.pad(picture.numpy(), ((0, 0), (4, 4), (4, 4)))[:, top : top + 6, left : left + 5]
        assert np.array_equal(result.numpy(), window[:, :, ::-1] if mirror else window)


def test_every_window_and_its_mirror_image_is_drawn_about_as_often() -> None:
    picture = torch.arange(1.0, 26).reshape(1, 1, 5, 5)
    torch.manual_seed(0)

    done = augment(CropFlip(padding=1), Batch(picture.expand(9000, 1, 5, 5), torch.zeros(9000).long()))

    counts = done.x.flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(counts) == 9 * 2
    assert ((counts - 500).abs() < 5 * math.sqrt(500)).all()


def test_a_blank_square_is_where_it_is_said_and_may_stick_out() -> None:
    x = torch.ones(H * W, 1, H, W)
    centres = torch.cartesian_prod(torch.arange(H), torch.arange(W))

    done = blanked(x, centres, 4)

    for (i, j), result in zip(centres.tolist(), done, strict=True):
        wanted = np.ones((H, W))
        wanted[max(0, i - 2) : i + 2, max(0, j - 2) : j + 2] = 0
        assert np.array_equal(result[0].numpy(), wanted)


@pytest.mark.parametrize(("side", "pixels"), [(0.5, 16), (0.25, 8), (0.001, 1)])
def test_the_blank_square_is_a_share_of_the_side(side: float, pixels: int) -> None:
    torch.manual_seed(0)

    done = augment(Cutout(side=side), Batch(torch.ones(400, 1, 32, 32), torch.zeros(400).long()))

    holes = (done.x[:, 0, 4:28, 4:28] == 0).sum(dim=(1, 2))                     # the padding does not reach so far
    assert int(holes.max()) == pixels**2


def test_the_loss_of_a_blend_is_that_of_blended_labels() -> None:
    given, logits = batch(), torch.randn(40, 4, generator=rng(3))

    done = augment(Mixup(alpha=0.4), given)

    assert done.own is not None
    assert done.partner is not None
    soft = done.own[:, None] * one_hot(given.y, 4) + (1 - done.own[:, None]) * one_hot(done.partner, 4)
    assert torch.allclose(done.losses(logits), cross_entropy(logits, soft, reduction="none"), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 8, 8), (5,)], ids=["pictures", "vectors"])
def test_a_blend_is_of_the_row_that_its_second_label_belongs_to(shape: tuple[int, ...]) -> None:
    given = Batch(torch.rand(30, *shape, generator=rng()), torch.arange(30))

    done = augment(Mixup(), given)

    assert done.own is not None
    assert done.partner is not None
    for i, (own, partner) in enumerate(zip(done.own, done.partner, strict=True)):
        assert torch.allclose(done.x[i], own * given.x[i] + (1 - own) * given.x[partner], atol=1e-6)
    assert done.partner.sort().values.tolist() == given.y.tolist()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_weights_of_a_blend_are_beta_distributed(alpha: float) -> None:
    torch.manual_seed(0)

    drawn = shares(alpha, 20_000)

    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@named
@grey_and_colour
def test_a_batch_keeps_its_form_its_labels_and_its_range(recipe: Augmentation, channels: int) -> None:
    given = batch(200, channels)
    before = given.x.clone()

    done = augment(recipe, given)

    assert done.x.shape == given.x.shape
    assert done.x.dtype == torch.float32
    assert 0 <= float(done.x.min()) <= float(done.x.max()) <= 1
    assert done.y is given.y
    assert torch.equal(given.x, before)
    assert not torch.equal(done.x, before)


@named
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(recipe: Augmentation) -> None:
    def seeded(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return augment(recipe, batch()).x

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))


def test_every_augmentation_of_the_menu_has_its_code() -> None:
    assert {type(recipe) for recipe in [*ALL, NoAugmentation()]} == set(augmentation.recipes())
    assert augmenting.of(NoAugmentation(), Rows(torch.zeros(1, 2), torch.zeros(1))) is None
    assert augmentation.find(NoAugmentation())(NoAugmentation()) is None


@contextmanager
def process(place: int, of: int) -> Iterator[None]:
    """This process as one of several that never answer."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=place, world_size=of, store=FakeStore())
    try:
        yield
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("recipe", OF_PICTURES, ids=lambda recipe: recipe.model_dump_json())
@pytest.mark.parametrize("n", [1, 7])
def test_several_processes_make_the_pictures_that_one_makes(recipe: Augmentation, n: int) -> None:
    given, parts = batch(n), list[Tensor]()
    torch.manual_seed(5)
    whole = augment(recipe, given).x

    for place in range(2):
        with process(place, 2):
            torch.manual_seed(5)
            parts.append(augment(recipe, Batch(share(given.x), given.y)).x)

    assert torch.equal(torch.cat(parts), whole)


def test_several_processes_cannot_blend() -> None:
    with process(0, 2), pytest.raises(BadInput, match="several processes"):
        augmenting.of(Mixup(), Rows(torch.zeros(2, 3), torch.zeros(2)))


@pytest.mark.parametrize("recipe", OF_PICTURES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(2, 5), "one of pictures"),
        (torch.zeros(2, 6, dtype=torch.int32), "one of pictures"),
        (torch.zeros(2, 1, 4, 9), "4 × 9 do not bear a padding of 4"),
    ],
    ids=["vectors", "words", "small pictures"],
)
def test_rows_that_are_no_fit_pictures_are_refused(recipe: Augmentation, x: Tensor, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        augmenting.of(recipe, Rows(x, torch.zeros(2).long()))


@pytest.mark.parametrize("recipe", [Trivial(), RandAugment()], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_pictures_of_other_values_have_no_brightness(recipe: Augmentation, value: float) -> None:
    x = torch.full((2, 1, 8, 8), 0.5)
    x[1, 0, 3, 3] = value

    with pytest.raises(BadInput, match=r"\[0, 1\]"):
        augmenting.of(recipe, Rows(x, torch.zeros(2).long()))


def test_words_cannot_be_blended() -> None:
    with pytest.raises(BadInput, match="words"):
        augmenting.of(Mixup(), Rows(torch.zeros(2, 6, dtype=torch.int32), torch.zeros(2).long()))


@named
@grey_and_colour
def test_the_host_never_reads_a_value_of_a_picture(recipe: Augmentation, channels: int) -> None:
    transform = augmenting.of(recipe, Rows(levels(2, channels), torch.zeros(2)))
    given = batch(300, channels)
    assert transform is not None

    done = transform(Batch(given.x.to("meta"), given.y.to("meta")))     # has no values: reading one raises

    assert done.x.device.type == "meta"
    assert done.x.shape == given.x.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@named
def test_a_gpu_is_never_waited_for_and_makes_the_same_pictures(recipe: Augmentation) -> None:
    given, there = batch(), Batch(batch().x.cuda(), batch().y.cuda())
    transform: Augment | None = augmenting.of(recipe, Rows(there.x, there.y))
    assert transform is not None
    transform(there)                        # the first call loads kernels
    torch.manual_seed(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        done = transform(there)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    torch.manual_seed(1)
    close = (done.x.cpu() - augment(recipe, given).x).abs() < 2 / 255
    assert close.float().mean() > 0.99      # a place between two pixels may be rounded to the other one
