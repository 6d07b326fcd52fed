"""`expunge keys rotate` and `expunge keys retire`: another key signs, an old one ends.

Exit codes: 0 done; 3 no such key; 4 the key signs or is retired already, or another rotation was begun; 5 database, KMS
or HSM cannot be reached, and calling again goes on; 1 anything else.
"""

from datetime import UTC, datetime

from rich.console import Console

from service.commands.database import Codes, database
from service.domain.entries import KeyReason
from service.errors import Conflict, NotFound, Unavailable
from service.ledger import rotation
from service.ledger.keys import PUBLIC_FILE, Use
from service.settings import Settings

CODES: Codes = {NotFound: 3, Conflict: 4, Unavailable: 5}


def rotate(use: Use, /, *, signer: str | None = None) -> None:
    """Let another key sign from now on; the ledger says so first. A rotation that was interrupted is finished.

    Args:
        use: certificate, or log for the one that signs checkpoints.
        signer: where the next key lies: awskms:…, gcpkms:…, azurekms:…, hsm:…, hv:…; a fresh file unless given.
    """
    settings = Settings()
    with database(settings, role=None, codes=CODES) as engine:
        done = rotation.rotate(engine, settings.keys_dir, use, signer=signer, at=datetime.now(UTC))
    print(f"The {use} key is now {done.vkey.label} (entry {done.entry} of the ledger).")
    print(f"Give verifiers {settings.keys_dir / PUBLIC_FILE} anew, and replace every copy of it that is served.")
    print(f"What {done.replaces.label} has signed stays valid; `expunge keys retire` ends it.")


def retire(label: str, /, *, reason: KeyReason) -> None:
    """End a key that signs no more: no later entry or checkpoint is its, whoever holds it.

    Args:
        label: name, plus sign and id, as the lines of expunge.pub begin.
    """
    settings = Settings()
    waiting = Console(stderr=True).status("Waiting for transactions that began before …")
    with database(settings, role=None, codes=CODES) as engine, waiting:
        done = rotation.retire(engine, settings.keys_dir, label, reason=reason, at=datetime.now(UTC))
    print(f"{done.vkey.label} is retired: nothing from entry {done.entry} of the ledger on is its.")
    print(f"Give verifiers {settings.keys_dir / PUBLIC_FILE} anew; with the old one they would still believe it.")
