"""The archive that torch.export.save writes, read without torch: a zip file of JSON documents and of raw numbers.

torch.export.load would unpickle weights, constants, sample inputs and custom objects, and evaluate the sizes' formulas.
Here a part that is pickled is refused or not looked at, and a formula is compared with the one form that is allowed.
"""

import json
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np

from service.domain.recipes.own import Dtype

Json: TypeAlias = Any       # a document of a stranger's; whoever reads it checks
SCHEMA = 8                  # of torch._export.serde.schema; a higher major number is another language
SAVE = "save it with torch.export.save of torch ≥ 2.8"
MOST_PARTS, MOST_JSON = 50_000, 256 << 20
DTYPES: dict[int, Dtype] = {
    1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 12: "BOOL", 13: "BF16",
}
KINDS = {
    "U8": "u1", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    "BOOL": "?", "BF16": "<u2",
}


class Unusable(Exception):
    """Why the file cannot be converted, in a sentence."""


class Array(NamedTuple):
    """Numbers of the archive, their dtype, whether they are to be trained, and what tells them from all others."""

    values: "np.ndarray[Any, Any]"
    dtype: Dtype
    trainable: bool
    source: str


class Archive:
    """One exported program."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = ZipFile(path)
        except BadZipFile:
            raise Unusable("this is no archive of torch.export.save") from None
        names = self._zip.namelist()
        if len(names) > MOST_PARTS or len(set(names)) < len(names):
            raise Unusable("the archive has too many parts, or one twice")
        models = [name for name in names if "/models/" in name and name.endswith(".json")]
        if len(models) != 1:
            raise Unusable(f"the archive has {len(models)} programs where one is needed: {SAVE}")
        self._root, _, file = models[0].partition("/models/")
        self.model = file.removesuffix(".json")
        self.document = self._json(f"models/{file}")
        if self.document["schema_version"]["major"] != SCHEMA:
            raise Unusable("the program was saved by a version of torch whose files are not known here: export it anew")

    def _bytes(self, name: str, most: int) -> bytes:
        try:
            part = self._zip.getinfo(f"{self._root}/{name}")
        except KeyError:
            raise Unusable(f"the archive lacks {name}: {SAVE}") from None
        if part.compress_type != ZIP_STORED or part.file_size > most:
            raise Unusable(f"{name} is compressed or too large")
        return self._zip.read(part)

    def _json(self, name: str) -> Json:
        return json.loads(self._bytes(name, MOST_JSON))

    def arrays(self) -> dict[str, Array]:
        """Weights, buffers and constants by their names, as far as they are plain tensors."""
        weights = self._json(f"data/weights/{self.model}_weights_config.json")["config"]
        constants = self._json(f"data/constants/{self.model}_constants_config.json")["config"]
        return {
            name: self._array(name, told, f"data/{folder}/{told['path_name']}")
            for folder, config in (("weights", weights), ("constants", constants))
            for name, told in config.items()
        }

    def _array(self, name: str, told: Json, part: str) -> Array:
        if told["use_pickle"] or told["tensor_meta"] is None:
            raise Unusable(f"{name!r} is pickled; loading it could run code, so only plain tensors are taken")
        meta = told["tensor_meta"]
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None:
            raise Unusable(f"{name!r} has a dtype that is not known here")
        shape, strides = ([whole(each) for each in meta[field]] for field in ("sizes", "strides"))
        flat = np.frombuffer(self._bytes(part, 1 << 40), KINDS[dtype])
        values = strided(flat, shape, strides, whole(meta["storage_offset"]))
        return Array(values, dtype, bool(meta["requires_grad"]), f"{part} {shape} {strides} {meta['storage_offset']}")


def whole(size: Json) -> int:
    """A size that is a plain number."""
    if not isinstance(size, dict) or type(size.get("as_int")) is not int or size["as_int"] < 0:
        raise Unusable("a tensor has a size that is no number")
    return size["as_int"]


def strided(flat: "np.ndarray[Any, Any]", shape: list[int], strides: list[int], start: int) -> "np.ndarray[Any, Any]":
    """The numbers of a tensor in the order of its shape, once all of them are known to be in the file."""
    if prod(shape) == 0:
        return np.zeros(shape, flat.dtype)
    last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if last >= len(flat) or prod(shape) > len(flat):
        raise Unusable("a tensor reaches beyond its part of the archive")
    width = flat.dtype.itemsize
    view = np.lib.stride_tricks.as_strided(flat[start:], shape, [width * step for step in strides], writeable=False)
    return np.ascontiguousarray(view)
