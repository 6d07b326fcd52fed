"""Which code stands behind a class of the menu. A file in one of the packages registers itself; no list is edited."""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Generic, TypeVar

from torch import nn

from service.domain.report import Found
from service.domain.values import Value
from service.errors import BadInput
from worker.data import Augment
from worker.gates import Gate, Held

Code = TypeVar("Code", bound=Callable[..., object])


class Registry(Generic[Code]):
    """From a recipe class to its code; the files of `package` are imported at the first question."""

    def __init__(self, noun: str, package: str) -> None:
        self.noun, self.package = noun, package
        self._entries: dict[type[Value], Code] = {}
        self._complete = False

    def __call__(self, recipe: type[Value]) -> Callable[[Code], Code]:
        """Decorate the function that does what `recipe` says."""

        def register(code: Code) -> Code:
            if recipe in self._entries:
                raise ValueError(f"{self.noun} {recipe.__name__} is registered twice")
            self._entries[recipe] = code
            return code

        return register

    def find(self, recipe: Value) -> Code:
        """The code of a recipe value."""
        self._load()
        if type(recipe) not in self._entries:
            raise BadInput(f"no {self.noun} {type(recipe).__name__}; there are: {', '.join(self.names())}")
        return self._entries[type(recipe)]

    def names(self) -> tuple[str, ...]:
        """The valid choices, as the menu spells them."""
        self._load()
        return tuple(sorted(recipe.model_fields["name"].default for recipe in self._entries))

    def recipes(self) -> tuple[type[Value], ...]:
        """The registered classes of the menu."""
        self._load()
        return tuple(sorted(self._entries, key=lambda recipe: recipe.__name__))

    def _load(self) -> None:
        if self._complete:
            return
        for module in iter_modules(import_module(self.package).__path__, f"{self.package}."):
            import_module(module.name)
        self._complete = True


method = Registry[Callable[..., None]]("method", "worker.methods")
mask = Registry[Callable[..., Gate | Held | None]]("mask", "worker.masks")
augmentation = Registry[Callable[..., Augment | None]]("augmentation", "worker.augmentations")
family = Registry[Callable[..., nn.Module]]("family", "worker.families")
attack = Registry[Callable[..., Found]]("attack", "worker.attacks")
