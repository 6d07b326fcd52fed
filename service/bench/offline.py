"""What a third party does: one bundle verified as its own process, and hostile ones refused."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

from service.bench import sample
from service.bench.deployment import ORIGIN, Deployment, opened
from service.db import ledger
from service.db.session import transaction
from service.errors import LedgerBroken
from service.ledger import bundle, proofs
from service.ledger.case import MEMBERS
from service.ledger.sequencer import drain
from service.ledger.untrusted import pack, unpack

HUGE = 100 * 2**20      # bytes of nonsense
DEEP = 100_000          # brackets


@dataclass(frozen=True, slots=True)
class Files:
    """What a third party has."""

    verifier: Path
    bundle: Path
    key: Path

    def verify(self, *, bundle: Path | None = None, key: Path | None = None) -> tuple[int, float]:
        """Exit code and seconds of the verifier, its start included."""
        command = [sys.executable, str(self.verifier), str(bundle or self.bundle), "--key", str(key or self.key)]
        start = perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)
        return done.returncode, perf_counter() - start


def certified(of: Deployment, url: str) -> Files:
    """The bundle of a certificate that the sequencer has just put at the end of a log."""
    keys = of.keys
    with opened(url, "expunge_app") as app, transaction(app) as tx:
        request_id = sample.add_request(tx, sample.add_model(tx))
        certificate_id = sample.certify(tx, request_id, keys.certificate)
    with opened(url, "expunge_sequencer") as sequencer:
        drain(sequencer, keys, ORIGIN)
    with opened(url, "expunge_app") as app, transaction(app) as tx:
        receipt, envelope = proofs.receipt(tx, certificate_id), ledger.certificate_of(tx, request_id).envelope
    if receipt is None:
        raise LedgerBroken("The sequencer has left a certificate behind")
    files = Files(of.folder / "verify.pyz", of.folder / "bundle.zip", of.folder / "expunge.pub")
    files.verifier.write_bytes(bundle.verifier())
    files.bundle.write_bytes(bundle.make(
        envelope=envelope, tlog_proof=receipt.tlog_proof, checkpoint=receipt.checkpoint, trust=keys.trust,
        report_json=sample.REPORT,
    ))  # fmt: skip
    files.key.write_text(keys.trust)
    return files


def verifications(files: Files, *, n: int) -> float:
    """Seconds of one, the median of n.

    Raises:
        LedgerBroken: the bundle is refused.
    """
    done = [files.verify() for _ in range(n)]
    if any(code for code, _ in done):
        raise LedgerBroken("The verifier refuses a bundle that was made just now")
    return median(seconds for _, seconds in done)


def refusals(files: Files) -> dict[str, float]:
    """Seconds until each hostile input was refused.

    Raises:
        LedgerBroken: one was not, or not at a numbered step.
    """
    folder = files.bundle.parent
    nonsense = folder / "nonsense"
    nonsense.write_bytes(Random(0).randbytes(2**20) * (HUGE >> 20))
    cut = folder / "cut.zip"
    cut.write_bytes(files.bundle.read_bytes()[:-100])
    asked = {"nonsense_as_bundle": (nonsense, files.key), "nonsense_as_key": (files.bundle, nonsense)}
    asked |= {"truncated": (cut, files.key)}
    asked |= {f"deep_{name}": (_deep(files, name), files.key) for name in ("envelope.json", "keys.json", "report.json")}
    return {name: _refused(files, *each) for name, each in asked.items()}


def _deep(files: Files, name: str) -> Path:
    """The bundle with one member that is nothing but brackets."""
    members = dict(unpack(files.bundle.read_bytes(), MEMBERS)) | {name: b"[" * DEEP + b"]" * DEEP}
    path = files.bundle.with_name(f"deep-{name}.zip")
    path.write_bytes(pack(members))
    return path


def _refused(files: Files, bundle: Path, key: Path) -> float:
    code, seconds = files.verify(bundle=bundle, key=key)
    if code < 10:
        raise LedgerBroken(f"The verifier ends with {code} where it should refuse")
    return seconds
