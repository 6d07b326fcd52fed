"""Unlearning as a library: train a model, unlearn rows, audit the result. No service, no settings, no logs."""

from worker.training import train
from worker.unlearning import Unlearned, unlearn

__all__ = ["Unlearned", "train", "unlearn"]
