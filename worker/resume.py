"""Take a run up where it ended: after each epoch all that it remembers is one safetensors file, never a pickle."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from service.errors import BadInput
from worker.distributed import place
from worker.gates import Stateful

Tree = Any      # nested dicts and lists of tensors, numbers, text and None


class Snapshot:
    """The file of one run; a run of another recipe or other rows refuses it.

    Of several processes on one job the first writes, and all read: the file lies on a disk that they share.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self._beside = path.with_name(f"{path.name}.part")

    def write(self, state: Mapping[str, Tree]) -> None:
        """All or nothing: a run that dies while it writes finds the epoch before."""
        if place():
            return
        tensors: dict[str, Tensor] = {}
        plain = planted(dict(state), tensors)
        with self._beside.open("wb") as file:
            file.write(save(tensors, {"run": self.run, "state": json.dumps(plain)}))
            file.flush()
            os.fsync(file.fileno())
        self._beside.replace(self.path)

    def read(self, device: torch.device | str = "cpu") -> dict[str, Tree] | None:
        """What was written last, tensors of an accelerator on `device`; None at the first start.

        Raises:
            BadInput: the file is not a snapshot of this run.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                told: dict[str, str] = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise BadInput("the snapshot is not safetensors") from error
        if told.get("run") != self.run:
            raise BadInput("the snapshot belongs to another run: other rows, another model, recipe or seed")
        return grown(json.loads(told["state"]), tensors, device)

    def end(self) -> None:
        """The run is over."""
        if not place():
            self.path.unlink(missing_ok=True)
            self._beside.unlink(missing_ok=True)


def planted(tree: Tree, tensors: dict[str, Tensor]) -> Tree:
    """The tree with its tensors moved to a dict, and their numbers in their places."""
    match tree:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = tree.detach().cpu().contiguous().clone()
            return {"tensor": name, "moved": tree.device.type != "cpu"}
        case dict():
            return {"dict": [[key, planted(value, tensors)] for key, value in tree.items()]}
        case list() | tuple():
            return {"list": [planted(value, tensors) for value in tree]}
        case _:
            return {"plain": tree}


def grown(tree: Tree, tensors: Mapping[str, Tensor], device: torch.device | str) -> Tree:
    """The tree that was planted."""
    match tree:
        case {"tensor": name, "moved": moved}:
            return tensors[name].to(device) if moved else tensors[name]
        case {"dict": items}:
            return {key: grown(value, tensors, device) for key, value in items}
        case {"list": items}:
            return [grown(value, tensors, device) for value in items]
        case _:
            return tree["plain"]


def epochs(
    E: int, model: nn.Module, rng: Generator, log: list[dict[str, float]], kept: Mapping[str, Stateful | None],
    snapshot: Snapshot | None,
) -> Iterator[int]:
    """0 … E − 1, less those that an earlier run of the same file has done; each ends with a snapshot.

    Randomness that draws from torch's global generator (dropout, augmentation) begins each epoch from its own seed.
    """
    remembered = {name: each for name, each in kept.items() if each is not None}
    first = restored(model, rng, log, remembered, snapshot)
    for e in range(first, E):
        torch.manual_seed((rng.initial_seed() + e) % 2**63)
        yield e
        if snapshot:
            state = {name: each.state_dict() for name, each in remembered.items()}
            snapshot.write(
                {"next": e + 1, "rng": rng.get_state(), "log": log, "model": model.state_dict(), "kept": state}
            )
    if snapshot:
        snapshot.end()


def restored(
    model: nn.Module, rng: Generator, log: list[dict[str, float]], kept: Mapping[str, Stateful],
    snapshot: Snapshot | None,
) -> int:
    """The epoch to begin with, once everything is as it was then."""
    state = snapshot.read(next(model.parameters()).device) if snapshot else None
    if state is None:
        return 0
    if state["kept"].keys() != kept.keys():
        raise BadInput("the snapshot was written by another version of the method: delete it and begin anew")
    model.load_state_dict(state["model"])
    rng.set_state(state["rng"])
    log[:] = state["log"]
    for name, each in kept.items():
        each.load_state_dict(state["kept"][name])
    return state["next"]
