"""The bundle: a zip with all that a third party needs to check one certificate offline, and the verifier itself."""

from importlib.resources import files

import rfc8785

from service.ledger.checkpoints import listed, read_keys
from service.ledger.envelopes import payload
from service.ledger.untrusted import pack

README = """\
EXPUNGE - certificate of unlearning

  statement.json     what was asked, what was done, what the audit saw, and what none of it proves
  envelope.json      the same statement, signed (DSSE, Ed25519); the ledger's entry is these bytes
  proof.tlog-proof   inclusion of the entry in the ledger, with the signed checkpoint (c2sp.org/tlog-proof)
  checkpoint         that checkpoint alone; keep it, and hold later ones against it
  keys.json          which keys signed; for information, never a reason to trust
  report.json        the audit report that the statement names by digest
  report.pdf         the same for reading on paper, where there is one
  recipe-report.json what shadow models said of the recipe, where that was audited

Check it with keys that you got from a source you believe, not from this archive:

  expunge verify BUNDLE --key expunge.pub
  python verify.pyz BUNDLE --key expunge.pub       needs only Python 3.11 and the package `cryptography`

This text is not signed.
"""

VERIFIER = (
    "service.domain.merkle",
    "service.ledger.untrusted",
    "service.ledger.checkpoints",
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
) -> bytes:
    """The bundle of one certificate; the same parts give the same bytes.

    Args:
        trust: the text of `expunge.pub`, repeated for information only.
        report_pdf, recipe_report: only where the statement has the subject `report.pdf`, `recipe-report.json`; a
            verifier refuses an unsigned one.
    """
    members = {
        "README.txt": README.encode(),
        "statement.json": payload(envelope),
        "envelope.json": envelope,
        "proof.tlog-proof": tlog_proof.encode(),
        "checkpoint": checkpoint.encode(),
        "keys.json": rfc8785.dumps({"keys": listed(read_keys(trust))}),
        "report.json": report_json,
    }
    further = {"report.pdf": report_pdf, "recipe-report.json": recipe_report}
    return pack(members | {name: content for name, content in further.items() if content is not None})


def verifier() -> bytes:
    """`verify.pyz`: the offline verifier as one file that Python runs, and that any zip tool opens for reading."""
    packages = {f"{name}/__init__.py": b"" for name in ("service", "service/domain", "service/ledger")}
    modules = {f"{name.replace('.', '/')}.py": _source(name) for name in VERIFIER}
    return pack({"__main__.py": _MAIN, **packages, **modules})


def _source(module: str) -> bytes:
    package, _, name = module.rpartition(".")
    return files(package).joinpath(f"{name}.py").read_bytes()
