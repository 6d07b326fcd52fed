"""Unlearning as a library: train a model, unlearn rows, audit the result. No service, no settings, no logs."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.auditing import AuditSets, audit
    from worker.preflighting import preflight
    from worker.training import train
    from worker.unlearning import Unlearned, unlearn

__all__ = ["AuditSets", "Unlearned", "audit", "preflight", "train", "unlearn"]

_HOMES = {
    "AuditSets": "auditing",
    "Unlearned": "unlearning",
    "audit": "auditing",
    "preflight": "preflighting",
    "train": "training",
    "unlearn": "unlearning",
}


def __getattr__(name: str) -> object:
    """Torch is imported by who uses it; the parent of a Celery worker only passes messages on."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"worker.{_HOMES[name]}"), name)
