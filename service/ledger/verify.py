"""Check a certificate bundle offline, trusting nobody but the keys that you name.

    expunge verify BUNDLE --key expunge.pub [--checkpoint SEEN [--consistency PROOF]] [--weights FILE]
    expunge verify-receipt RECEIPT BUNDLE --key expunge.pub
    python verify.pyz BUNDLE … [--receipt RECEIPT]      the same without the service: Python 3.11 and `cryptography`

The steps run in this order; the first that fails ends the check, and the exit code is 10 + its number:

    0 input                 the bundle is one, the key file holds keys, and every file that was named can be read
    1 envelope signature    a trusted certificate key signed the envelope's payload (DSSE)
    2 statement schema      the payload is an unlearning certificate, whole, and statement.json is a copy of it
    3 leaf hash             the proof is about exactly this envelope
    4 inclusion             that leaf is in the tree whose root the checkpoint names (RFC 6962)
    5 checkpoint signature  a trusted ledger key signed that checkpoint (C2SP signed note)
    6 consistency           the ledger that you saw before is a beginning, or a continuation, of this one (--checkpoint)
    7 report digests        the reports in the bundle are those that were signed
    8 weights digest        FILE is what the certificate calls model-after (--weights)
    9 later entries         what else the ledger says of the request, each with steps 1 to 5; no entry revokes or
                            supersedes the certificate (only where the bundle has later.json)
   10 receipt               the receipt's sample is in the set that the certificate names (--receipt)

A key that was retired (`until=N` in the key file) is refused at 4 for an entry from N on, at 5 and 6 for a larger tree.
Imports no more than the standard library, `cryptography` and the files that `bundle.VERIFIER` names.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import NamedTuple

from service.domain import merkle
from service.ledger import checkpoints, later, receipts, schema, sealed
from service.ledger.case import MEMBERS, OPTIONAL, REPORTS, Case
from service.ledger.untrusted import (
    TEXT_LIMIT,
    RefusedError,
    as_written,
    at,
    field,
    items,
    read,
    read_json,
    span_of,
    text,
    unbase64,
)


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
    receipt: bytes | None = None,
) -> list[Step]:
    """Run the steps; the last one says whether all is well.

    Args:
        trust: the text of a key file.
        checkpoint: a checkpoint of this ledger that you kept earlier.
        consistency: the answer of /ledger/proofs/consistency for the two sizes, or its hashes, one per line.
        receipt: the answer of /deletion-requests/{id}/receipt.
    """
    case, steps = Case(bundle, trust, checkpoint, consistency, weights, receipt), list[Step]()
    for number, (name, check) in enumerate(STEPS):
        try:
            if case.asks(number):
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
    if not case.trust.certificates or not case.trust.log:
        raise RefusedError("the key file must hold a certificate key and a ledger key")
    n_keys = len(case.trust.certificates) + len(case.trust.log)
    return f"{len(case.members)} files; {n_keys} keys; README.txt is not evidence"


def _envelope_signature(case: Case) -> str:
    """Step 1."""
    return "by " + sealed.check_signature(case.certificate, case.trust.certificates)[0].label


def _statement_schema(case: Case) -> str:
    """Step 2."""
    if case.members["statement.json"] != case.certificate.payload:
        raise RefusedError("statement.json is not what was signed")
    statement = case.certificate.statement
    if schema.require_statement(statement) != schema.CERTIFICATE:
        raise RefusedError("this is not an unlearning certificate, version 1")
    _policy(case)
    recipes = [at(each, "recipe") for each in items(statement, "predicate.procedure.attempts")]
    if at(statement, "predicate.procedure.method") not in recipes:
        raise RefusedError("the certificate hides its attempts")
    if not case.digests.keys() >= {"model-before", "model-after", "report.json"}:
        raise RefusedError("the certificate does not name its models and its report")
    certificate = field(statement, "predicate.request.certificate_id", str)
    return f"certificate {certificate}: {field(statement, 'predicate.verdict.value', str)}"


def _policy(case: Case) -> None:
    """The payload is canonical JSON, and so is each part of it, as it stands."""
    policy = span_of(case.certificate.payload.decode(), "predicate.verdict.policy").encode()
    if sha256(policy).hexdigest() != field(case.certificate.statement, "predicate.verdict.policy_sha256", str):
        raise RefusedError("predicate.verdict.policy is not the policy of that digest")


def _leaf_hash(case: Case) -> str:
    """Step 3."""
    sealed.check_leaf(case.certificate)
    return f"entry {case.certificate.proof.index}: {case.certificate.leaf.hex()}"


def _inclusion(case: Case) -> str:
    """Step 4."""
    entry = case.certificate
    sealed.check_inclusion(entry, sealed.check_signature(entry, case.trust.certificates))
    return f"{len(entry.proof.path)} hashes lead to the root of {entry.checkpoint.size} entries"


def _checkpoint_signature(case: Case) -> str:
    """Step 5."""
    if text(case.members["checkpoint"]) != case.certificate.proof.note:
        raise RefusedError("the bundle's checkpoint is not the one of the proof")
    signer = sealed.check_checkpoint(case.certificate.checkpoint, case.trust.log)
    _offers_no_other_key(case)
    return f"by {signer.label}"


def _offers_no_other_key(case: Case) -> None:
    """keys.json is no source of trust; a reader who pins what it says must not be misled all the same."""
    signers = sealed.check_signature(case.certificate, case.trust.certificates)
    noted = {(name, signature[:4]) for name, signature in case.certificate.checkpoint.signatures}
    keys = (*signers, *(key for key in case.trust.log if (key.name, key.id) in noted))
    signed = checkpoints.listed([key._replace(until=None) for key in keys])
    offered = items(read_json(case.members["keys.json"]), "keys")
    if not all(each in signed for each in offered):
        raise RefusedError("keys.json offers a key that you do not trust, or that did not sign")
    if {at(each, "signs") for each in offered} != {"certificates", "checkpoints"}:
        raise RefusedError("keys.json does not name the keys that signed")
    named = {field(each, "vkey", str): each for each in offered}
    as_written({"keys": [named[name] for name in sorted(named)]}, case.members["keys.json"])


def _consistency(case: Case) -> str:
    """Step 6."""
    ours, seen = case.certificate.checkpoint, checkpoints.parse(case.seen or "")
    sealed.check_checkpoint(seen, case.trust.log)
    if seen.origin != ours.origin:
        raise RefusedError("the checkpoint that you saw is of another ledger")
    old, new = sorted((seen, ours), key=lambda each: each.size)
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
    if at(case.certificate.statement, "predicate.evidence.report_sha256") != case.digests["report.json"]:
        raise RefusedError("the evidence names another report")
    recipe_report = at(case.certificate.statement, "predicate.evidence.recipe_audit.report_sha256")
    if recipe_report != case.digests.get("recipe-report.json"):
        raise RefusedError("the evidence names another report on the recipe")
    return " and ".join(present)


def _weights_digest(case: Case) -> str:
    """Step 8."""
    digest = _digest_of(case.weights or Path())
    if digest == case.digests.get("model-before"):
        raise RefusedError("these are the weights from before the unlearning")
    if digest != case.digests.get("model-after"):
        raise RefusedError("these are not the weights of the certificate")
    return digest


def _digest_of(path: Path) -> str:
    """Of a regular file: a pipe would be waited for, and a device has no end."""
    try:
        if not path.is_file():
            raise RefusedError("the file of weights does not exist, or is no plain file")
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise RefusedError("the file of weights cannot be read") from error


def _later_entries(case: Case) -> str:
    """Step 9."""
    return later.check(case.later, case.certificate, case.trust)


def _receipt(case: Case) -> str:
    """Step 10."""
    return receipts.check(read_json(case.receipt or b""), case.certificate.statement)


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
    ("later entries", _later_entries),
    ("receipt", _receipt),
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
    parser.add_argument("--receipt", type=Path, help="the receipt of one sample, as its person was given it")
    steps = _verify_files(parser.parse_args(arguments))
    for step in steps:
        print(f"{'ok  ' if step.ok else 'FAIL'} {step.number} {step.name}: {step.detail}")
    print("VALID" if steps[-1].ok else "NOT VALID")
    return 0 if steps[-1].ok else 10 + steps[-1].number


def _verify_files(asked: argparse.Namespace) -> list[Step]:
    try:
        trust, seen, path = map(_text, (asked.key, asked.checkpoint, asked.consistency))
        receipt = None if asked.receipt is None else read(asked.receipt, TEXT_LIMIT)
    except RefusedError as refusal:
        return [Step(0, STEPS[0][0], False, str(refusal))]
    told = {"checkpoint": seen, "consistency": path}
    return verify(asked.bundle, trust or "", **told, weights=asked.weights, receipt=receipt)


def _text(path: Path | None) -> str | None:
    return None if path is None else text(read(path, TEXT_LIMIT))


if __name__ == "__main__":
    sys.exit(main())
