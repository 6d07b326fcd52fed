"""Every error that a user can meet, and what to do about it. No message carries personal data.

    ExpungeError
    ├── BadInput 422            the body, a file or a file's content is not usable
    │   ├── InvalidDataset      what is wrong with a Parquet file, column by column
    │   ├── InvalidWeights      weights that are not this architecture's
    │   └── NothingLeft         the request would empty a class or the retain set
    ├── NotFound 404
    │   ├── UnknownSamples      ids that the index of the data set does not know
    │   └── UnknownClass
    ├── Conflict 409            the state of a resource forbids it
    │   ├── AlreadyExists
    │   ├── NoVersion           the model has no usable version yet
    │   └── NotYet              it will exist in a moment
    ├── Forgotten 410           it was deleted so that nobody can have it again
    ├── Gone 410                it was erased, because somebody had asked for that
    ├── TooLarge 413
    ├── Damaged 500             stored bytes no longer have their digest
    ├── Unavailable 503         a server we depend on is away
    │   └── UnusableDatabase    it answers, but its roles and rights are not those that we need
    ├── UnusableKeys 500        the folder of keys is incomplete, open to others, or not ours
    └── LedgerBroken 500        the stored ledger contradicts what was signed; nothing more is signed
    JobError                    raised inside a job; it ends the attempt
    ├── LostLease               another worker owns the job now: write nothing
    ├── Cancelled               somebody asked the job to stop
    └── Diverged                a loss is no longer a finite number
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One place in the input that is wrong: a JSON pointer, and a sentence with counts."""

    pointer: str
    detail: str


class ExpungeError(Exception):
    """An error with an HTTP status, a stable slug, and a hint."""

    status = 500
    headers: ClassVar[dict[str, str]] = {}
    slug = "internal"
    title = "Something went wrong on our side"
    hint = "Try again; if it happens again, send the request id to your operator."

    def __init__(self, detail: str, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)


class BadInput(ExpungeError):
    status = 422
    slug = "bad-input"
    title = "The input is not usable"
    hint = "Correct the places named in `errors` and send the request again; nothing was changed."


class InvalidDataset(BadInput):
    slug = "invalid-dataset"
    title = "The data set is not usable"
    hint = "Columns: sample_id, split, label, features or image or text, and optionally subject_id; nothing was stored."


class InvalidWeights(BadInput):
    slug = "invalid-weights"
    title = "The weights are not usable"
    hint = "Send safetensors whose names, shapes and dtypes are those of the family, all values finite."


class NothingLeft(BadInput):
    slug = "nothing-left"
    title = "The request would leave too little to learn from"
    hint = "Ask for fewer rows, or retire the model; to remove a whole class use target kind `classes`."


class NotFound(ExpungeError):
    status = 404
    slug = "not-found"
    title = "There is no such thing"
    hint = "Compare the name or id with the list of the collection."


class UnknownSamples(NotFound):
    slug = "unknown-ids"
    title = "Some ids are not in the data set"
    hint = "Compare them with the index of the dataset version that trained the model."

    def __init__(self, dataset: str, *, missing: int, asked: int) -> None:
        detail = f"{missing} of {asked} ids are not among the training rows of dataset {dataset!r}"
        super().__init__(detail, faults=[Fault("/target/ids", detail)])


class UnknownClass(NotFound):
    slug = "unknown-class"
    title = "Some classes are not in the data set"

    def __init__(self, dataset: str, *, missing: int, asked: int) -> None:
        detail = f"{missing} of {asked} classes have no training rows in dataset {dataset!r}"
        super().__init__(detail, faults=[Fault("/target/ids", detail)])


class Conflict(ExpungeError):
    status = 409
    slug = "conflict"
    title = "The state of the resource does not allow this"
    hint = "Read the resource, and decide again."


class AlreadyExists(Conflict):
    slug = "already-exists"
    title = "The name is taken"
    hint = "Choose another name, or use what exists."


class NoVersion(Conflict):
    slug = "no-version"
    title = "The model has no version yet"
    hint = "Follow the model's training job; ask again when version 1 is active."


class NotYet(Conflict):
    slug = "not-yet"
    title = "It does not exist yet"
    hint = "Follow the event stream, or ask again after the seconds in Retry-After."
    headers: ClassVar[dict[str, str]] = {"Retry-After": "1"}


class Forgotten(ExpungeError):
    status = 410
    slug = "forgotten"
    title = "It was forgotten for good"
    hint = "Receipts that were given before remain valid; nobody can make a new one."


class Gone(ExpungeError):
    status = 410
    slug = "erased"
    title = "It was erased"
    hint = "It remembered what a deletion request made the service forget; use a later version."


class TooLarge(ExpungeError):
    status = 413
    slug = "too-large"
    title = "The upload is too large"
    hint = "Put the file into the store and send its key, or raise EXPUNGE_MAX_UPLOAD_MB."


class Unavailable(ExpungeError):
    status = 503
    slug = "unavailable"
    title = "A server we depend on does not answer"
    hint = "Nothing was changed; try again in a moment."


class UnusableDatabase(Unavailable):
    slug = "unusable-database"
    title = "The database does not give us the rights that we need"
    hint = "Run `expunge migrate`; then, as its administrator, `GRANT expunge_app, expunge_sequencer TO <login>`."


class Damaged(ExpungeError):
    slug = "damaged"
    title = "Stored content is damaged"
    hint = "Restore this object of the store from a copy; its name is the SHA-256 of what it held."


class UnusableKeys(ExpungeError):
    slug = "unusable-keys"
    title = "The keys are not usable"
    hint = "Make a folder of keys with `expunge keys new`; only its owner may read the private ones."


class LedgerBroken(ExpungeError):
    slug = "ledger-broken"
    title = "The ledger contradicts itself"
    hint = "Stop the sequencer, keep the database as it is, and compare it with checkpoints kept elsewhere."


class JobError(ExpungeError):
    slug = "job-failed"
    title = "The job failed"


class LostLease(JobError):
    """Another worker owns the job now; whatever this one knows is stale."""


class Cancelled(JobError):
    """The job was asked to stop."""


class Diverged(JobError):
    """A loss is no longer a finite number; the weights at hand are worthless."""

    hint = "Lower the learning rate, or look for extreme values in the features."

    def __init__(self, *, step: int) -> None:
        super().__init__(f"the loss is not finite at step {step}")
        self.step = step
