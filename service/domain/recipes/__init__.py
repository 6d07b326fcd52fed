"""THE MENU: one class per model family, mask, augmentation and method. REST schema, CLI flags and tests follow."""

from service.domain.recipes.augmentations import (
    Augmentation,
    CropFlip,
    Cutout,
    Mixup,
    NoAugmentation,
    RandAugment,
    Trivial,
)
from service.domain.recipes.families import (
    Cnn,
    Family,
    Logistic,
    Mlp,
    ResNet18,
    TextTransformer,
    Vgg16Bn,
    VitTiny,
)
from service.domain.recipes.guards import AscentGuard
from service.domain.recipes.masks import AndMask, FocusMask, Mask, NoMask, OptMask, ProbMask, SaliencyMask, Variance
from service.domain.recipes.methods import (
    BadTeacher,
    Descent,
    FineTune,
    L1Sparse,
    Method,
    NablaTau,
    NegGrad,
    NegGradPlus,
    RandomLabel,
    Retrain,
    Scrub,
    Ssd,
)
from service.domain.recipes.own import Exported, Python
from service.domain.recipes.presets import PRESETS, Preset
from service.domain.recipes.provenance import OURS, ours
from service.domain.recipes.shapes import Image, InputShape, Tokens, Vector
from service.domain.recipes.training import AdamW, Optimizer, Sgd, Spec, Task, Training

__all__ = [
    "OURS", "PRESETS", "AdamW", "AndMask", "AscentGuard", "Augmentation", "BadTeacher", "Cnn", "CropFlip", "Cutout",
    "Descent", "Exported", "Family", "FineTune", "FocusMask", "Image", "InputShape", "L1Sparse", "Logistic", "Mask",
    "Method",
    "Mixup", "Mlp", "NablaTau", "NegGrad", "NegGradPlus", "NoAugmentation", "NoMask", "OptMask", "Optimizer", "Preset",
    "ProbMask", "Python", "RandAugment", "RandomLabel", "ResNet18", "Retrain", "SaliencyMask", "Scrub", "Sgd", "Spec",
    "Ssd", "Task", "TextTransformer", "Tokens", "Training", "Trivial", "Variance", "Vector", "Vgg16Bn", "VitTiny",
    "ours",
]
