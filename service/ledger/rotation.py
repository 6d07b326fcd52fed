"""Another key takes over, and an old one is retired: both are entries of the ledger before they have an effect.

Rotation, of the certificate key or of the log's:

    1. Make the next key beside the present one (`log.next.pem`, or `log.next.uri` for one in a KMS or HSM).
    2. Log it, signed by the present certificate key, and by the next one too if that is to sign certificates. A next
       key of the log signs the checkpoint that covers the entry, together with the present one, so that readers who
       know only that can follow.
    3. Add it to expunge.pub; the old line stays, and with it all that the old key signed.
    4. Put it in the present one's place, whose file is gone with that.

Each step finds what an earlier call has done: a rotation that died at any instruction is finished by the next call.
A retirement logs first and writes `until` after, and is finished likewise.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from service.db import key_entries, ledger
from service.db.session import transaction
from service.domain.entries import KeyChanged, KeyReason, statement
from service.errors import BadInput, Conflict, LedgerBroken, NotFound, UnusableKeys
from service.ledger import checkpoints, keys
from service.ledger.checkpoints import Vkey, use_of, write_keys
from service.ledger.envelopes import seal
from service.ledger.keys import INDEX_FILE, PUBLIC_FILE, USES, Keys, Remote, Secret, Use
from service.ledger.sequencer import sequence
from service.ledger.signers import Pair
from service.ledger.untrusted import RefusedError

_ENTRIES = UUID("5b0d1a52-6a0e-5c1c-9d0e-4f7a3c1f8e21")     # of our own: a change of a key is said once


class Rotated(NamedTuple):
    """The key that signs now, the one that did, and the index of the entry that says so."""

    vkey: Vkey
    entry: int
    replaces: Vkey


class Retired(NamedTuple):
    """A key that has ended, and the index of the entry that says so: the first that is not its."""

    vkey: Vkey
    entry: int


# ---- rotation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation under way; `steps` may be ended after any of them."""

    engine: Engine
    folder: Path
    use: Use
    signer: str | None      # URI of the next key; None: a file
    at: datetime

    def steps(self) -> Iterator[Rotated | None]:
        """Does a step at each turn; the last one yields what has changed."""
        held = keys.load(self.folder)
        old = _present(held, self.use)
        secret = self._next(old)
        new = keys.bound(self.folder, secret, old.vkey.name)
        yield None
        index = self._log(held, old, new)
        yield None
        _publish(self.folder, new.vkey)
        yield None
        self._swap(secret)
        yield Rotated(new.vkey, index, _predecessor(self.folder, new.vkey))

    def _next(self, old: Pair) -> Secret:  # 1
        if not _begun(self.folder, self.use):
            remote = isinstance(keys.secret(self.folder, self.use), Remote)
            if remote and self.signer is None:
                raise BadInput("The present key lies in a KMS or HSM; name the next one with --signer")
            pair, made = keys.make(self.folder, old.vkey.name, self.signer)
            if pair.vkey.label in {key.label for key in keys.public_keys(self.folder)}:
                raise Conflict(f"The key is in {PUBLIC_FILE} already; name one that has never signed")
            name, content = keys.written(f"{self.use}.next", made)
            _place(self.folder / name, content, mode=0o600)
        begun = keys.secret(self.folder, f"{self.use}.next")
        if self.signer is not None and not (isinstance(begun, Remote) and begun.uri.startswith(self.signer)):
            raise Conflict("A rotation to another key was begun; finish it by the same command without --signer")
        return begun

    def _log(self, held: Keys, old: Pair, new: Pair) -> int:  # 2
        entry = KeyChanged(
            action="rotated", use=use_of(new.vkey), vkey=str(new.vkey), replaces=str(old.vkey), at=self.at
        )
        of_certificates = self.use == "certificate"
        signed_by = (old, new) if of_certificates else (held.certificate,)
        sequencing = held if of_certificates else replace(held, log=new, outgoing=old)
        with transaction(self.engine) as tx:
            return _append(tx, sequencing, entry, signed_by)

    def _swap(self, secret: Secret) -> None:  # 4
        name, content = keys.written(self.use, secret)
        _place(self.folder / name, content, mode=0o600)
        if isinstance(secret, Remote):
            (self.folder / f"{self.use}.pem").unlink(missing_ok=True)
        (self.folder / keys.written(f"{self.use}.next", secret)[0]).unlink()


def rotate(engine: Engine, folder: Path, use: Use, *, signer: str | None = None, at: datetime) -> Rotated:
    """Let another key sign from now on, or finish what an earlier call began.

    Args:
        signer: URI of a key in a KMS or HSM; None: a fresh file.
    Raises:
        UnusableKeys: the folder is not ours, or not the one that signs this ledger.
    """
    with _alone(folder):
        _belongs(engine, keys.load(folder))
        done = [step for step in Rotation(engine, folder, use, signer, at).steps() if step is not None]
    return done[-1]


def _predecessor(folder: Path, vkey: Vkey) -> Vkey:
    return [key for key in keys.public_keys(folder) if key.name == vkey.name and key != vkey][-1]


def _present(held: Keys, use: Use) -> Pair:
    return held.certificate if use == "certificate" else held.log


def _begun(folder: Path, use: Use) -> bool:
    return any((folder / f"{use}.next.{kind}").exists() for kind in ("pem", "uri"))


def _publish(folder: Path, vkey: Vkey) -> None:  # 3
    text = keys.trust(folder)
    if vkey not in keys.public_keys(folder):
        _place(folder / PUBLIC_FILE, text.rstrip("\n") + "\n" + write_keys([vkey]), mode=0o644)


# ---- retirement -----------------------------------------------------------------------------------------------------


def retire(
    engine: Engine, folder: Path, label: str, *, reason: KeyReason, at: datetime,
    pause: Callable[[float], None] = time.sleep,
) -> Retired:
    """End a key that no longer signs: from the index of the entry that says so, nothing is its.

    Raises:
        NotFound: no key has this label.
        Conflict: it signs, or is about to, or is retired already.
    """
    with _alone(folder):
        held = keys.load(folder)
        vkey = _retirable(folder, held, label)
        _belongs(engine, held)
        _await_writers(engine, pause)
        entry = KeyChanged(action="retired", use=use_of(vkey), vkey=str(vkey), reason=reason, at=at)
        with transaction(engine) as tx:
            index = _append(tx, held, entry, (held.certificate,))
        ended = write_keys([vkey._replace(until=index)]).rstrip("\n")
        lines = [ended if line == str(vkey) else line for line in keys.trust(folder).split("\n")]
        _place(folder / PUBLIC_FILE, "\n".join(lines), mode=0o644)
    return Retired(vkey, index)


def _retirable(folder: Path, held: Keys, label: str) -> Vkey:
    found = next((key for key in held.public if key.label == label), None)
    if found is None:
        raise NotFound(f"No key in {PUBLIC_FILE} has this label; a label is a name, a plus sign and eight hex digits")
    if found.until is not None:
        raise Conflict(f"The key is retired already, from entry {found.until} on")
    if found in (held.certificate.vkey, held.log.vkey):
        raise Conflict("The key signs; let another one take over first, with `expunge keys rotate`")
    if any(_begun(folder, use) for use in USES):
        raise Conflict("A rotation was begun; finish it first, with `expunge keys rotate`")
    return found


def _await_writers(engine: Engine, pause: Callable[[float], None]) -> None:
    """Whoever writes since before the rotation may hold the old key, and an entry that is not in the inbox yet."""
    with transaction(engine) as tx:
        horizon = key_entries.next_writer(tx)
    while True:
        with transaction(engine) as tx:
            if key_entries.oldest_writer(tx) >= horizon:
                return
        pause(0.1)


# ---- both -----------------------------------------------------------------------------------------------------------


def _belongs(engine: Engine, held: Keys) -> None:
    """The ledger was signed by a key of this folder, or nothing was signed yet."""
    with transaction(engine) as tx:
        latest = ledger.latest_checkpoint(tx)
    try:
        if latest is not None:
            checkpoints.check_note(checkpoints.parse(latest.note), held.public)
    except RefusedError:
        raise UnusableKeys("The ledger in this database was signed by other keys than those of the folder") from None


def _append(tx: Session, held: Keys, entry: KeyChanged, signed_by: tuple[Pair, ...]) -> int:
    """Log it once; returns its index. All that waits is sequenced before it, in this transaction."""
    key_entries.wait_for_lock(tx)
    entry_id = uuid5(_ENTRIES, f"{entry.action} {entry.vkey}")
    if ledger.leaf_of(tx, entry_id) is None:
        subjects = {"key": sha256(entry.vkey.encode()).hexdigest()}
        ledger.enqueue(tx, entry_id, seal(statement(entry, subjects), *signed_by), kind=entry.kind, requests=[])
        while sequence(tx, held, held.origin):
            pass
    leaf = ledger.leaf_of(tx, entry_id)
    if leaf is None:
        raise LedgerBroken("The sequencer has left an entry behind")
    return leaf.idx


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """One change at a time; the lock goes with the process, however it ends."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise UnusableKeys("There is no folder of keys; `expunge keys new` makes one") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict("Another command changes these keys at the moment") from None
    finally:
        os.close(descriptor)


def _place(path: Path, content: str, *, mode: int) -> None:
    """Write or replace a file: whoever looks sees the old one or the new one, in full."""
    draft = path.with_name(path.name + ".draft")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            _give(file.fileno(), path.with_name(INDEX_FILE), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)
    except OSError:
        raise UnusableKeys(f"{path.name} cannot be written") from None


def _sync(folder: Path) -> None:
    """Replacements reach the disk in the order in which they were made."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give(descriptor: int, like: Path, mode: int) -> None:
    """What root writes for a service must belong to the service's user."""
    os.fchmod(descriptor, mode)
    if os.geteuid() == 0:
        held = like.stat()
        os.fchown(descriptor, held.st_uid, held.st_gid)
