"""Unlearning as a library: train a model, unlearn rows, audit the result. No service, no settings, no logs."""

from worker.auditing import AuditSets, audit
from worker.training import train
from worker.unlearning import Unlearned, unlearn

__all__ = ["AuditSets", "Unlearned", "audit", "train", "unlearn"]
