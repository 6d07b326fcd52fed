"""Files that get their names only when everything is on the disk: a reader sees all of one, or none."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

DRAFT = ".draft-"       # how the names of unfinished ones begin


@contextmanager
def appearing(path: Path, *, mode: int = 0o600) -> Generator[BinaryIO]:
    """A file that gets its name only when everything is on the disk."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=DRAFT)
    try:
        with os.fdopen(handle, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        Path(draft).chmod(mode)
        Path(draft).replace(path)
        _sync_folder(path.parent)
    finally:
        Path(draft).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
