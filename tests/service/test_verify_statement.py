"""Step 2 of the verifier: what is signed must also be an unlearning certificate, whole and of the right types."""

import json
from dataclasses import replace

import pytest

from service.domain import certificates
from service.ledger.envelopes import seal
from tests.service.ledger_fixture import changed, statement


def test_step_2_a_readable_copy_that_says_something_else(check, log):
    other = statement().replace(b"EQUIVALENT_WITHIN_MARGIN", b"LEAK_DETECTED")

    assert check(changed(log.bundle(), statement=other)) == (2, "statement.json is not what was signed")


FREE = {"method", "policy", "recipe", "versions", "headline"}      # their content has no schema here
NULLABLE = {
    "accelerator", "driver", "image_sha256", "parent_job_id", "smallest_detectable", "before", "reference",
    "before_ci", "after_ci", "reference_ci", "recipe_audit", "erase_by", "supersedes",
}  # fmt: skip


def fields_of(value, path=()):
    """The path of every field of a JSON document, those of the first element of a list included."""
    if isinstance(value, list):
        return fields_of(value[0], (*path, 0)) if value and isinstance(value[0], dict) else []
    if isinstance(value, dict) and not FREE & set(path[-1:]):
        return [found for name, each in value.items() for found in [(*path, name), *fields_of(each, (*path, name))]]
    return []


REQUIRED = [path for path in fields_of(json.loads(statement())) if path != ("predicate", "evidence", "recipe_audit")]


def nullable(path):
    return path[-1] in NULLABLE or ("attempts" in path and path[-1] in {"verdict", "report_sha256"})


def test_the_cases_reach_every_part_of_a_statement():
    reached = {".".join(each for each in path if each != 0) for path in REQUIRED}

    assert {f"predicate.{name}" for name in certificates.Predicate.model_fields} <= reached
    assert {f"predicate.evidence.attacks.{name}" for name in certificates.Attack.model_fields} <= reached
    assert {f"predicate.evidence.metrics.{name}" for name in certificates.Metric.model_fields} <= reached
    assert {f"predicate.procedure.attempts.{name}" for name in certificates.Attempt.model_fields} <= reached
    assert {f"predicate.follow_up.to_erase.{name}" for name in certificates.Thing.model_fields} <= reached
    assert {f"predicate.follow_up.notified.{name}" for name in certificates.Notified.model_fields} <= reached


def put(read, path, value):
    *parents, last = path
    for name in parents:
        read = read[name]
    read[last] = value
    if value == "missing":
        del read[last]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
@pytest.mark.parametrize("other", ["missing", None, [True], -1.5])
def test_step_2_a_signed_statement_without_a_field(check, log, path, other):
    signed = replace(log, envelope=seal(statement(lambda read: put(read, path, other)), log.keys.certificate))
    number = path[-1] in {"before", "after", "reference", "smallest_detectable"} and other == -1.5

    assert check(signed.bundle())[0] == (None if (other is None and nullable(path)) or number else 2)


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
