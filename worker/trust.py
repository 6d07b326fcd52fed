"""Packages whose architectures may be imported: said once by a composition root, or by who uses the library."""

from collections.abc import Collection

from service.domain import architectures
from service.domain.recipes import Python

_trusted: set[str] = set()


def allow(packages: Collection[str]) -> None:
    """Trust these top-level packages; their code runs in this process."""
    _trusted.update(packages)


def refuse_stranger(family: Python) -> None:
    """Raises BadInput unless the package of the factory is trusted."""
    architectures.refuse_stranger(family, _trusted)
