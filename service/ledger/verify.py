"""Check a certificate bundle offline, trusting nobody but the keys that you name.

    expunge verify BUNDLE --key expunge.pub [--checkpoint SEEN [--consistency PROOF]] [--weights FILE]
    python verify.pyz BUNDLE …      the same without the service: needs Python 3.11 and `cryptography` alone

The steps run in this order; the first that fails ends the check, and the exit code is 10 + its number:

    0 input                 the bundle is one, the key file holds keys, and every file that was named can be read
    1 envelope signature    a trusted certificate key signed the envelope's payload (DSSE, Ed25519)
    2 statement schema      the payload is an unlearning certificate, and statement.json is a copy of it
    3 leaf hash             the proof is about exactly this envelope
    4 inclusion             that leaf is in the tree whose root the checkpoint names (RFC 6962)
    5 checkpoint signature  a trusted ledger key signed that checkpoint (C2SP signed note)
    6 consistency           the ledger that you saw before is a beginning, or a continuation, of this one (--checkpoint)
    7 report digests        the reports in the bundle are those that were signed
    8 weights digest        FILE is what the certificate calls model-after (--weights)

Imports no more than the standard library, `cryptography` and three files of this package: see `bundle.verifier`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from re import fullmatch
from typing import NamedTuple

from service.domain import merkle
from service.ledger import checkpoints
from service.ledger.case import MEMBERS, OPTIONAL, REPORTS, Case
from service.ledger.untrusted import TEXT_LIMIT, RefusedError, at, field, items, read, read_json, text, unbase64

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.example/unlearning-certificate/v1"
VERDICTS = ("EQUIVALENT_WITHIN_MARGIN", "LEAK_DETECTED", "INCONCLUSIVE")
SCHEMA: Mapping[str, Mapping[type, str]] = {
    "request": {
        str: "certificate_id request_id target_kind forget_root ground received_at due_at",
        int: "n_samples",
    },
    "procedure": {
        str: "code_digest device started_at finished_at",
        int: "seed",
        dict: "method versions",
        list: "attempts",
    },
    "evidence": {str: "report_sha256", int: "references_k", list: "metrics"},
    "verdict": {str: "value reason policy_sha256", bool: "exact"},
    "follow_up": {list: "erased notified"},
}
RECIPE_AUDIT = "predicate.evidence.recipe_audit"


class Step(NamedTuple):
    """A step that ran."""

    number: int
    name: str
    ok: bool
    detail: str


def verify(
    bundle: Path,
    trust: str,
    *,
    checkpoint: str | None = None,
    consistency: str | None = None,
    weights: Path | None = None,
) -> list[Step]:
    """Run the steps; the last one says whether all is well.

    Args:
        trust: the text of a key file.
        checkpoint: a checkpoint of this ledger that you kept earlier.
        consistency: the answer of /ledger/proofs/consistency for the two sizes, or its hashes, one per line.
    """
    case, steps = Case(bundle, trust, checkpoint, consistency, weights), list[Step]()
    asked = {6: checkpoint is not None, 8: weights is not None}
    for number, (name, check) in enumerate(STEPS):
        if not asked.get(number, True):
            continue
        try:
            steps.append(Step(number, name, True, check(case)))
        except RefusedError as refusal:
            return [*steps, Step(number, name, False, str(refusal))]
    return steps


# ---- the steps ------------------------------------------------------------------------------------------------------


def _input(case: Case) -> str:
    """Step 0."""
    missing = MEMBERS.keys() - OPTIONAL - case.members.keys()
    if missing:
        raise RefusedError("the bundle lacks a member")
    if len(case.log_keys) in (0, len(case.keys)):
        raise RefusedError("the key file must hold a certificate key and a ledger key")
    return f"{len(case.members)} files; {len(case.keys)} keys; README.txt is not evidence"


def _envelope_signature(case: Case) -> str:
    """Step 1. PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body."""
    kind = field(case.envelope, "payloadType", str)
    encoded = b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(case.payload), case.payload)
    signers = {key.label: key for key in case.keys if checkpoints.signs_certificates(key)}
    known = [each for each in items(case.envelope, "signatures") if field(each, "keyid", str) in signers]
    if not known:
        raise RefusedError("no trusted certificate key signed the envelope")
    for each in known:
        signers[field(each, "keyid", str)].check(unbase64(field(each, "sig", str)), encoded)
    _offers_no_other_key(case)
    return "by " + field(known[0], "keyid", str)


def _offers_no_other_key(case: Case) -> None:
    """keys.json is no source of trust; a reader who pins what it says must not be misled all the same."""
    offered, trusted = items(read_json(case.members["keys.json"]), "keys"), checkpoints.listed(case.keys)
    if not all(each in trusted for each in offered):
        raise RefusedError("keys.json offers a key that you do not trust")


def _statement_schema(case: Case) -> str:
    """Step 2."""
    if case.members["statement.json"] != case.payload:
        raise RefusedError("statement.json is not what was signed")
    types = [field(case.statement, "_type", str), field(case.statement, "predicateType", str)]
    if [field(case.envelope, "payloadType", str), *types] != [PAYLOAD_TYPE, STATEMENT_TYPE, PREDICATE_TYPE]:
        raise RefusedError("this is not an unlearning certificate, version 1")
    for section, kinds in SCHEMA.items():
        for kind, names in kinds.items():
            for name in names.split():
                field(case.statement, f"predicate.{section}.{name}", kind)
    _recipe_audit(case)
    return _verdict(case)


def _recipe_audit(case: Case) -> None:
    """Older certificates, and those of a recipe that nobody has audited, have none."""
    audit = at(case.statement, RECIPE_AUDIT)
    if audit is None:
        return
    for kind, name in ((str, "report_sha256"), (int, "n_models"), (bool, "same_code")):
        field(audit, name, kind)
    for name in ("auc_original", "auc"):
        number = at(audit, name)
        if not isinstance(number, int | float) or not 0 <= number <= 1:
            raise RefusedError(f"{RECIPE_AUDIT}.{name} is no share")


def _verdict(case: Case) -> str:
    verdict = field(case.statement, "predicate.verdict.value", str)
    certificate = field(case.statement, "predicate.request.certificate_id", str)
    if verdict not in VERDICTS or not fullmatch("[0-9a-f-]{36}", certificate) or not case.digests:
        raise RefusedError("the certificate's id, verdict or subjects are not of the schema")
    recipes = [at(each, "recipe") for each in items(case.statement, "predicate.procedure.attempts")]
    hidden = at(case.statement, "predicate.procedure.method") not in recipes
    if hidden or not items(case.statement, "predicate.limits"):
        raise RefusedError("the certificate hides its attempts or its limits")
    return f"certificate {certificate}: {verdict}"


def _leaf_hash(case: Case) -> str:
    """Step 3."""
    if case.proof.leaf != case.leaf:
        raise RefusedError("the proof is about another envelope")
    return f"entry {case.proof.index}: {case.leaf.hex()}"


def _inclusion(case: Case) -> str:
    """Step 4."""
    index, size, root = case.proof.index, case.checkpoint.size, case.checkpoint.root
    if not merkle.verify_inclusion(index, size, case.proof.path, leaf=case.leaf, root=root):
        raise RefusedError("the path does not lead from the leaf to the checkpoint's root")
    return f"{len(case.proof.path)} hashes lead to the root of {size} entries"


def _checkpoint_signature(case: Case) -> str:
    """Step 5."""
    if text(case.members["checkpoint"]) != case.proof.note:
        raise RefusedError("the bundle's checkpoint is not the one of the proof")
    return "by " + checkpoints.check_note(case.checkpoint, case.log_keys).label


def _consistency(case: Case) -> str:
    """Step 6."""
    seen = checkpoints.parse(case.seen or "")
    checkpoints.check_note(seen, case.log_keys)
    if seen.origin != case.checkpoint.origin:
        raise RefusedError("the checkpoint that you saw is of another ledger")
    old, new = sorted((seen, case.checkpoint), key=lambda each: each.size)
    if case.consistency is None and 0 < old.size < new.size:
        raise RefusedError(f"needs --consistency: GET /ledger/proofs/consistency?from={old.size}&to={new.size}")
    path = _hashes(case.consistency or "")
    if not merkle.verify_consistency(old.size, new.size, path, first_root=old.root, second_root=new.root):
        raise RefusedError("the ledger has rewritten its history: keep both checkpoints, they prove it")
    return f"{old.size} entries are the beginning of {new.size}"


def _hashes(consistency: str) -> tuple[bytes, ...]:
    """One hash per line, or the service's answer as it came."""
    if not consistency.startswith("{"):
        return checkpoints.parse_path(consistency)
    read = read_json(consistency.encode())
    return tuple(unbase64(each) for each in items(read, "hashes") if isinstance(each, str))


def _report_digests(case: Case) -> str:
    """Step 7."""
    present = [name for name in REPORTS if name in case.members]
    for name in present:
        if case.digests.get(name) != sha256(case.members[name]).hexdigest():
            raise RefusedError(f"{name} is not the file that was signed")
    if field(case.statement, "predicate.evidence.report_sha256", str) != case.digests["report.json"]:
        raise RefusedError("the evidence names another report")
    if _recipe_report(case) != case.digests.get("recipe-report.json"):
        raise RefusedError("the evidence names another report on the recipe")
    return " and ".join(present)


def _recipe_report(case: Case) -> str | None:
    """The digest that the evidence names, if it names one."""
    audit = at(case.statement, RECIPE_AUDIT)
    return None if audit is None else field(audit, "report_sha256", str)


def _weights_digest(case: Case) -> str:
    """Step 8."""
    try:
        with (case.weights or Path()).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RefusedError("the file of weights cannot be read") from error
    if digest == case.digests.get("model-before"):
        raise RefusedError("these are the weights from before the unlearning")
    if digest != case.digests.get("model-after"):
        raise RefusedError("these are not the weights of the certificate")
    return digest


STEPS: Sequence[tuple[str, Callable[[Case], str]]] = (
    ("input", _input),
    ("envelope signature", _envelope_signature),
    ("statement schema", _statement_schema),
    ("leaf hash", _leaf_hash),
    ("inclusion", _inclusion),
    ("checkpoint signature", _checkpoint_signature),
    ("consistency", _consistency),
    ("report digests", _report_digests),
    ("weights digest", _weights_digest),
)


# ---- command line ---------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the steps; the exit code is 0, or 10 + the number of the step that failed."""
    parser = argparse.ArgumentParser(description="Check an unlearning certificate offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", type=Path, required=True, help="the public keys that you trust (expunge.pub)")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint of the ledger that you kept earlier")
    parser.add_argument("--consistency", type=Path, help="the ledger's consistency proof between the two")
    parser.add_argument("--weights", type=Path, help="the safetensors file that you were given")
    steps = _verify_files(parser.parse_args(arguments))
    for step in steps:
        print(f"{'ok  ' if step.ok else 'FAIL'} {step.number} {step.name}: {step.detail}")
    print("VALID" if steps[-1].ok else "NOT VALID")
    return 0 if steps[-1].ok else 10 + steps[-1].number


def _verify_files(asked: argparse.Namespace) -> list[Step]:
    try:
        trust, seen, path = map(_text, (asked.key, asked.checkpoint, asked.consistency))
    except RefusedError as refusal:
        return [Step(0, STEPS[0][0], False, str(refusal))]
    return verify(asked.bundle, trust or "", checkpoint=seen, consistency=path, weights=asked.weights)


def _text(path: Path | None) -> str | None:
    return None if path is None else text(read(path, TEXT_LIMIT))


if __name__ == "__main__":
    sys.exit(main())
