"""The columns of a data set's Parquet file as tensors: inputs of three kinds, labels of three tasks, and persons."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from service.domain.recipes import Tokens
from service.domain.words import numbers
from service.errors import InvalidDataset
from service.inspection.columns import as_text, is_text

TOKENS = Tokens()


def labels(table: pa.Table) -> Tensor:
    """int64 (n,) classes from integers, float32 (n,) values from floats, float32 (n, K) labels from lists."""
    column = table["label"].combine_chunks()
    if column.null_count:
        raise InvalidDataset(f"rows without a label: {column.null_count}")
    if pa.types.is_integer(column.type):
        return torch.from_numpy(column.to_numpy().astype(np.int64))
    if pa.types.is_floating(column.type):
        return usable(column.to_numpy().astype(np.float32), np.isfinite, "labels that are NaN or infinite")
    if is_list(column.type):
        return usable(matrix(column, "label"), lambda y: (y >= 0) & (y <= 1), "labels of a list outside 0 … 1")
    raise InvalidDataset("labels are integers (classes), floats (values), or lists (of several labels each)")


def usable(y: np.ndarray, good: Callable[[np.ndarray], np.ndarray], fault: str) -> Tensor:
    """The labels, or a count of those that are not good."""
    bad = int((~good(y)).sum())
    if bad:
        raise InvalidDataset(f"{fault}: {bad}")
    return torch.from_numpy(y)


def features(table: pa.Table, tokens: Tokens = TOKENS) -> Tensor:
    """float32 (n, F) from lists, uint8 (n, C, H, W) from encoded pictures, or int32 (n, L) from texts."""
    if "image" in table.column_names:
        return torch.stack([pixels(encoded) for encoded in table["image"].to_pylist()])
    if "features" in table.column_names:
        return torch.from_numpy(matrix(table["features"].combine_chunks(), "features"))
    if "text" in table.column_names:
        return word_numbers(table["text"], tokens)
    raise InvalidDataset("there is none of the columns `features`, `image` and `text`")


def matrix(column: pa.Array, name: str) -> np.ndarray:
    """float32 (n, F) from lists of one length."""
    fixed = pa.types.is_fixed_size_list(column.type)
    widths = {column.type.list_size} if fixed else set(np.diff(column.offsets.to_numpy()).tolist())
    if column.null_count or len(widths) > 1:
        raise InvalidDataset(f"the lists in the column `{name}` differ in length")
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float32)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def word_numbers(column: pa.ChunkedArray, tokens: Tokens) -> Tensor:
    """int32 (n, L) from texts."""
    texts = as_text(column.combine_chunks()) if is_text(column.type) else None
    if texts is None:
        raise InvalidDataset("the column `text` is not text in UTF-8")
    if texts.null_count:
        raise InvalidDataset(f"rows without a text: {texts.null_count}")
    rows, empty = numbers(texts.to_pylist(), tokens)
    if empty:
        raise InvalidDataset(f"texts without a word: {empty}")
    return torch.frombuffer(rows, dtype=torch.int32).view(-1, tokens.length)


def pixels(encoded: bytes) -> Tensor:
    """uint8 (C, H, W) of one encoded picture; grey or colour."""
    with Image.open(BytesIO(encoded)) as image:
        held = np.array(image if image.mode == "L" else image.convert("RGB"))
    return torch.from_numpy(held).reshape(*held.shape[:2], -1).permute(2, 0, 1)


def persons(table: pa.Table) -> Tensor | None:
    """A number for each person; None where the file knows of none. A row without one is a person of its own."""
    if "subject_id" not in table.column_names or table["subject_id"].null_count == table.num_rows:
        return None
    codes = table["subject_id"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    alone = np.isnan(codes.astype(float))
    known = np.where(alone, 0, codes).astype(np.int64)
    return torch.from_numpy(np.where(alone, known.max() + 1 + alone.cumsum(), known))
