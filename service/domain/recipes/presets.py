"""Named recipes: what papers and people call by one name is a method with settings."""

from typing import Final

from service.domain.recipes.augmentations import CropFlip
from service.domain.recipes.masks import ProbMask, SaliencyMask
from service.domain.recipes.methods import Method, NablaTau, NegGradPlus, RandomLabel
from service.domain.values import Value


class Preset(Value):
    """A recipe and what is known of where it comes from."""

    about: str
    method: Method


PRESETS: Final[dict[str, Preset]] = {
    "salun": Preset(
        about="SalUn is no method of its own: it is random_label under the saliency mask.",
        method=RandomLabel(mask=SaliencyMask()),
    ),
    "paper:nabla-tau": Preset(
        about="Trippa et al. 2024, pictures, as in the authors' notebooks: mean target, α₀ = 5/3·ρ, frozen statistics.",
        method=NablaTau(target="mean", batch=256, forget_batch=256),
    ),
    "paper:nabla-tau-text": Preset(
        about="Trippa et al. 2024, text, as in the authors' notebook: the square is inside the ReLU, so two-sided.",
        method=NablaTau(
            target="mean", form="two_sided", alpha0=0.5, passes=0.5, batch=128, forget_batch=128, lr=3e-4,
            schedule="constant", bn="train",
        ),
    ),
    "paper:feasible-updates": Preset(
        about="Dine et al. 2025, NegGrad+ with the PROB mask, as in the authors' last committed grid (p = .3).",
        method=NegGradPlus(
            mask=ProbMask(p=0.3), bn="train", augment_retain=CropFlip(), augment_forget=CropFlip()
        ),
    ),
    "paper:salun": Preset(
        about="Fan et al. 2024, random labels of any class, pass after pass, as in the authors' example for CIFAR-10.",
        method=RandomLabel(
            labels="uniform", order="sequential", epochs=10, optimizer="sgd", lr=0.013, mask=SaliencyMask(),
            bn="train", augment_retain=CropFlip(), augment_forget=CropFlip(),
        ),
    ),
}
