"""An architecture of one's own: a function of a package that the operator trusts makes the module.

    factory(shape: InputShape, classes: int) → nn.Module        (n, …) → (n, classes)

Differs from a family of the menu: the module's own initialisation is kept; it draws from torch's global generator, as
`training.build` seeds it.
"""

from importlib import import_module

from torch import nn

from service.domain.recipes import InputShape, Python
from service.errors import BadInput
from worker import trust
from worker.registry import family


@family(Python)
def python(f: Python, shape: InputShape, classes: int) -> nn.Module:
    """What the factory makes.

    Raises:
        BadInput: the package is not trusted, there is no such function of its own, or it makes no module.
    """
    trust.refuse_stranger(f)
    path, _, name = f.factory.partition(":")
    try:
        factory = getattr(import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"there is no factory {f.factory!r}") from error
    if getattr(factory, "__module__", "").partition(".")[0] != f.package or not callable(factory):
        raise BadInput(f"{f.factory!r} is no function of the package {f.package!r} itself")
    model = factory(shape, classes)
    if not isinstance(model, nn.Module):
        raise BadInput(f"the factory {f.factory!r} makes no module of torch")
    return model
