"""What a data set's file has to be, and how to have it looked at. Reading itself happens in a child; see `rows`."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError, model_validator

from service import sandbox
from service.domain.recipes import InputShape, Tokens
from service.domain.values import OpenShare, Value
from service.errors import BadInput, Fault, InvalidDataset

SPLITS: tuple[str, ...] = ("train", "validation", "holdout")     # a split's code is its place here
MAX_CLASSES = 100_000
RULE = (
    "u = the first 8 bytes, big-endian, of SHA-256('expunge split v1' || 0x00 || id) / 2^64, where id is the UTF-8 "
    "subject_id, or the sample_id of a row without one; holdout if u < h, validation if u < h + v, else train"
)

A_RULE = 'a rule is {"validation": v, "holdout": h} with shares above 0 that sum to less than 1'
A_TEXT = 'it is {"length": l, "vocabulary": v} with 1 ≤ l ≤ 4096 words and 3 ≤ v ≤ 1048576 numbers'

Rows = Annotated[int, Field(ge=0)]
V = TypeVar("V", bound=Value)


class SplitRule(Value):
    """Shares of people, drawn by a hash of their id, so that nobody is in two splits."""

    validation: OpenShare
    holdout: OpenShare

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> "SplitRule":
        if self.validation + self.holdout >= 1:
            raise ValueError("validation and holdout together leave nothing to train on")
        return self


class Options(Value):
    """How to read a file: a rule in place of the column `split`, the number of classes if it is known, and texts."""

    split: SplitRule | None = None
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)] | None = None
    text: Tokens = Tokens()             # for a file with texts


class Facts(Value):
    """What was found in a usable file; nothing here is about one person."""

    rows: Rows
    splits: dict[str, Rows]
    subjects: Rows | None               # None: the file has no column subject_id
    shared_subjects: Rows               # people with rows in more than one split
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)]
    input: InputShape
    rule: str | None = None             # how the splits were drawn, if not by the column


class Outcome(Value):
    """What a child reports in the end: either facts or faults."""

    facts: Facts | None = None
    faults: tuple[Fault, ...] = ()

    def unwrap(self) -> Facts:
        """The facts; InvalidDataset if there are faults instead."""
        if self.facts is None or self.faults:
            count = len(self.faults)
            raise InvalidDataset(f"the file has {count} fault{'s' * (count != 1)}", faults=self.faults)
        return self.facts


def parse_options(*, split: str | None = None, classes: int | None = None, text: str | None = None) -> Options:
    """Options from what a form holds; `split` is a rule as JSON, `text` a length and a vocabulary."""
    rule = None if split is None else _parsed(SplitRule, split, "split", "the split rule is not usable", A_RULE)
    tokens = Tokens() if text is None else _parsed(Tokens, text, "text", "texts cannot be read so", A_TEXT)
    try:
        return Options(split=rule, classes=classes, text=tokens)
    except ValidationError as error:
        detail = f"the number of classes is between 2 and {MAX_CLASSES}"
        raise BadInput(detail, faults=[Fault("/classes", detail)]) from error


def _parsed(kind: type[V], given: str, name: str, problem: str, detail: str) -> V:
    try:
        return kind.model_validate_json(given)
    except ValidationError as error:
        raise BadInput(f"{problem}: {detail}", faults=[Fault(f"/{name}", detail)]) from error


def inspect_parquet(path: Path, options: Options, *, limits: sandbox.Limits | None = None) -> Facts:
    """Look at a whole file; InvalidDataset names everything that is wrong with it, with counts and without values."""
    found = sandbox.run(
        "service.inspection.rows", str(path.absolute()), options.model_dump_json(), limits=limits or sandbox.Limits()
    )
    return parse_outcome(found).unwrap()


def parse_outcome(found: object) -> Outcome:
    """What a child reported; a child that reports something else has been led astray by the file."""
    try:
        return Outcome.model_validate(found)
    except ValidationError:
        raise BadInput("the file could not be parsed within limits") from None
