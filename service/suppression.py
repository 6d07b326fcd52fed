"""Refuse data sets that would bring back what was erased. Ids are one name space for the whole deployment.

The ids of a file are told by a child in the sandbox and hashed here: the child never has the index key.
"""

from collections.abc import Generator
from pathlib import Path
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service import sandbox
from service.db import suppressions
from service.db.session import transaction
from service.domain.commitments import reference
from service.errors import BadInput, Fault, InvalidDataset

SPACE = "an id means the same in every data set of this deployment"
_IDS: TypeAdapter[tuple[list[str], list[str]]] = TypeAdapter(tuple[list[str], list[str]])


def refuse(engine: Engine, index_key: bytes, path: Path, *, limits: sandbox.Limits | None = None) -> None:
    """Look through a file that was inspected; nothing is read while nobody is suppressed.

    Raises:
        InvalidDataset: rows or persons of it were erased, and are not to come back.
    """
    with transaction(engine) as tx:
        if not suppressions.any_at_all(tx):
            return
    samples, persons = set[bytes](), set[bytes]()
    for named, theirs in _ids(path, limits or sandbox.Limits()):
        with transaction(engine) as tx:
            samples |= suppressions.among_these(tx, [reference(index_key, "sample", each) for each in named])
            persons |= suppressions.among_these(tx, [reference(index_key, "subject", each) for each in theirs])
    if samples or persons:
        raise refusal(samples=len(samples), persons=len(persons))


def refuse_indexed(tx: Session, dataset_id: UUID) -> None:
    """The same of an index that has just been written: somebody may have been erased since the file was looked at."""
    samples, persons = suppressions.indexed(tx, dataset_id)
    if samples or persons:
        raise refusal(samples=samples, persons=persons)


def _ids(path: Path, limits: sandbox.Limits) -> Generator[tuple[list[str], list[str]]]:
    """The ids of samples, and those of persons, batch by batch; a person may be in several."""
    for line in sandbox.lines("service.inspection.ids", str(path.absolute()), limits=limits):
        try:
            yield _IDS.validate_json(line)
        except ValidationError:
            raise BadInput("the file could not be parsed within limits") from None


def refusal(*, samples: int, persons: int) -> InvalidDataset:
    """Says how many, and that an id means the same row or person in every data set."""
    counted = {"sample_id": (samples, "rows"), "subject_id": (persons, "persons")}
    faults = [
        Fault(f"/columns/{name}", f"{what} that a deletion request has erased: {n}; {SPACE}")
        for name, (n, what) in counted.items() if n
    ]
    return InvalidDataset("the file holds what a deletion request has erased", faults=faults)
