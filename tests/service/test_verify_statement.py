"""Step 2 of the verifier: what is signed must also be an unlearning certificate, whole and of the right types."""

import json
from dataclasses import replace

import pytest

from service.ledger.envelopes import seal
from tests.service.ledger_fixture import (
    changed,
    statement,
)


def test_step_2_a_readable_copy_that_says_something_else(check, log):
    other = statement().replace(b"EQUIVALENT_WITHIN_MARGIN", b"LEAK_DETECTED")

    assert check(changed(log.bundle(), statement=other)) == (2, "statement.json is not what was signed")


def leaves_of(value, path=()):
    """The path of every value of a JSON document that has a schema of its own."""
    if isinstance(value, dict) and value:
        return [found for name, each in value.items() for found in [(*path, name), *leaves_of(each, (*path, name))]]
    return []


OPTIONAL = {"seconds", "float_digits"}
FREE = {"attempts", "metrics", "method", "versions"}
REQUIRED = [
    path for path in leaves_of(json.loads(statement()))
    if not OPTIONAL & set(path) and not FREE & set(path[:-1]) and path[-1] != "recipe_audit"      # but its parts
]  # fmt: skip


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
@pytest.mark.parametrize("other", ["missing", None, 3.5])
def test_step_2_a_signed_statement_without_a_field(check, log, path, other):
    def spoil(read):
        *parents, last = path
        for name in parents:
            read = read[name]
        read[last] = other
        if other == "missing":
            del read[last]

    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle())[0] == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda read: read["predicate"]["verdict"].update(value="PASSED"),
        lambda read: read["predicate"]["procedure"].update(attempts=[]),
        lambda read: read["predicate"]["procedure"]["attempts"].pop(),
        lambda read: read["predicate"].update(limits=[]),
        lambda read: read["subject"].append(read["subject"][0]),
        lambda read: read["subject"][0]["digest"].update(sha256="00"),
        lambda read: read.update(subject=[]),
        lambda read: read.update(predicateType="https://expunge.example/unlearning-certificate/v2"),
        lambda read: read["predicate"]["request"].update(certificate_id="\x1b[2J"),
        lambda read: read["predicate"]["verdict"].update(exact=1),
    ],
)
def test_step_2_a_signed_statement_that_means_nothing(check, log, spoil):
    signed = replace(log, envelope=seal(statement(spoil), log.keys.certificate))

    assert check(signed.bundle())[0] == 2
