"""THE MENU: a class per family, mask, augmentation, method and attack. REST schema, CLI flags and tests follow."""

from service.domain.recipes.attacks import (
    ClassRouting,
    OneRun,
    OracleDistance,
    Population,
    Reference,
    Relearning,
    Rung,
)
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
    "OURS", "PRESETS", "AdamW", "AndMask", "AscentGuard", "Augmentation", "BadTeacher", "ClassRouting", "Cnn",
    "CropFlip", "Cutout", "Descent", "Exported", "Family", "FineTune", "FocusMask", "Image", "InputShape", "L1Sparse",
    "Logistic", "Mask", "Method", "Mixup", "Mlp", "NablaTau", "NegGrad", "NegGradPlus", "NoAugmentation", "NoMask",
    "OneRun", "OptMask", "Optimizer", "OracleDistance", "Population", "Preset", "ProbMask", "Python", "RandAugment",
    "RandomLabel", "Reference", "Relearning", "ResNet18", "Retrain", "Rung", "SaliencyMask", "Scrub", "Sgd", "Spec",
    "Ssd", "Task", "TextTransformer", "Tokens", "Training", "Trivial", "Variance", "Vector", "Vgg16Bn", "VitTiny",
    "ours",
]
