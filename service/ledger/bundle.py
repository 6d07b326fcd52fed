"""The bundle: a zip with all that a third party needs to check one certificate offline, and the verifier itself."""

from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

import rfc8785

from service.ledger.checkpoints import Vkey, listed, parse, read_keys
from service.ledger.envelopes import payload
from service.ledger.untrusted import field, items, pack, read_json

README = """\
EXPUNGE - certificate of unlearning

  statement.json     what was asked, what was done, what the audit saw, and what none of it proves
  envelope.json      the same statement, signed (DSSE); the ledger's entry is these bytes
  proof.tlog-proof   inclusion of the entry in the ledger, with the signed checkpoint (c2sp.org/tlog-proof)
  checkpoint         that checkpoint alone; keep it, and hold later ones against it
  keys.json          which keys signed; for information, never a reason to trust
  report.json        the audit report that the statement names by digest
  report.pdf         the same for reading on paper, where there is one
  recipe-report.json what shadow models said of the recipe, where that was audited
  later.json         what else the ledger said of the request until this archive was made, each entry with its proof:
                     failed attempts, erasures, corrections

Check it with keys that you got from a source you believe, not from this archive:

  expunge verify BUNDLE --key expunge.pub
  python verify.pyz BUNDLE --key expunge.pub       needs only Python 3.11 and the package `cryptography`

An archive cannot know what was logged after it was made. Whether the certificate still counts, and what has been
erased since, says the service: GET /deletion-requests/{id}/entries, or a new archive, which differs in later.json only.

Was my record among those that were forgotten? The operator can give you a receipt for it, a small file that fits this
archive alone. Add `--receipt FILE` to the command above: step 10 says whether exactly your record was in the request.
Show the receipt only to those who may know that: it names your record, but tells nothing of anybody else's.

This text is not signed.
"""

VERIFIER = (
    "service.domain.merkle",
    "service.domain.commitments",
    "service.ledger.untrusted",
    "service.ledger.checkpoints",
    "service.ledger.sealed",
    "service.ledger.schema",
    "service.ledger.later",
    "service.ledger.receipts",
    "service.ledger.case",
    "service.ledger.verify",
)
_MAIN = b"import sys\n\nfrom service.ledger.verify import main\n\nsys.exit(main())\n"


def make(
    *,
    envelope: bytes,
    tlog_proof: str,
    checkpoint: str,
    report_json: bytes,
    trust: str,
    report_pdf: bytes | None = None,
    recipe_report: bytes | None = None,
    later: Sequence[tuple[bytes, str]] = (),
) -> bytes:
    """The bundle of one certificate; the same parts give the same bytes.

    Args:
        trust: the text of `expunge.pub`; the keys of it that signed are repeated for information only.
        report_pdf, recipe_report: only where the statement has the subject `report.pdf`, `recipe-report.json`; a
            verifier refuses an unsigned one.
        later: the other entries about the request, in the ledger's order: envelope and tlog-proof.
    """
    members = {
        "README.txt": README.encode(),
        "statement.json": payload(envelope),
        "envelope.json": envelope,
        "proof.tlog-proof": tlog_proof.encode(),
        "checkpoint": checkpoint.encode(),
        "keys.json": rfc8785.dumps({"keys": listed(_signers(envelope, checkpoint, trust))}),
        "report.json": report_json,
    }
    told = [{"envelope": b64encode(each).decode(), "proof": proof} for each, proof in later]
    further = {
        "report.pdf": report_pdf,
        "recipe-report.json": recipe_report,
        "later.json": rfc8785.dumps({"entries": told}) if told else None,
    }
    return pack(members | {name: content for name, content in further.items() if content is not None})


def _signers(envelope: bytes, checkpoint: str, trust: str) -> list[Vkey]:
    """The trusted keys that signed, without what became of them since: the same bundle whenever it is made.

    Of two that signed one checkpoint the older is told: who has pinned only that one can still verify.
    """
    keys = read_keys(trust)
    signed = {field(each, "keyid", str) for each in items(read_json(envelope), "signatures")}
    noted = {(name, signature[:4]) for name, signature in parse(checkpoint).signatures}
    certificates = [key for key in keys if key.label in signed]
    log = [key for key in keys if (key.name, key.id) in noted]
    return sorted((key._replace(until=None) for key in (*certificates, *log[:1])), key=str)


def verifier() -> bytes:
    """`verify.pyz`: the offline verifier as one file that Python runs, and that any zip tool opens for reading."""
    packages = {f"{name}/__init__.py": b"" for name in ("service", "service/domain", "service/ledger")}
    modules = {f"{name.replace('.', '/')}.py": _source(name) for name in VERIFIER}
    return pack({"__main__.py": _MAIN, **packages, **modules})


def _source(module: str) -> bytes:
    package, _, name = module.rpartition(".")
    return files(package).joinpath(f"{name}.py").read_bytes()
