"""Forgotten salts: certificate and bundle stay valid, and nothing that is left links a sample to its commitment."""

import re
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest

from service.db.session import transaction
from service.db.tables import Job
from service.domain import commitments
from service.errors import Conflict, NotFound
from service.ledger import bundle, keys, proofs, receipts, salts, verify
from service.ledger.untrusted import read_json
from service.settings import Settings
from tests.service.ledger_fixture import REPORT, add_forgotten, issue_of, leaves_of, sequence_all
from tests.service.world import stored

pytestmark = pytest.mark.slow        # jobs from claim to end, or servers and processes of their own

SAMPLES = ["row-train-1", "row-train-2", "row-train-3", "row-train-4"]


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


@pytest.fixture
def request_id(engine, deployment):
    made = add_forgotten(engine, deployment.index_key, SAMPLES)
    issue_of(engine, deployment, made)
    sequence_all(engine, deployment)
    return made


def forget(engine, deployment, **which):
    with transaction(engine) as tx:
        return salts.forget(tx, deployment.certificate, **which)


def linked(engine, deployment):
    """(sample, commitment) that the index key and any 32 bytes of the database, or none, link."""
    dump = "\n".join(row for rows in stored(engine).values() for row in rows)
    found = {bytes.fromhex(each) for each in re.findall(r"(?<=\\x)[0-9a-f]{64}(?![0-9a-f])", dump)}
    named = {bytes.fromhex(each) for each in re.findall(r"\b[0-9a-f]{64}\b", dump)}
    salts_to_try = found | named | {b"", bytes(32), deployment.index_key}
    ours = {bytes(each) for (each,) in rows_of(engine)}
    return {
        (sample, made)
        for sample in SAMPLES
        for ref in [commitments.reference(deployment.index_key, "sample", sample)]
        for salt in salts_to_try
        for made in [commitments.commitment(salt, ref), commitments.commitment_of(salt, ref)]
        if made in ours
    }


def rows_of(engine):
    with transaction(engine) as tx:
        return tx.connection().exec_driver_sql("SELECT commitment FROM forget_row").all()


def test_before_the_operator_can_link_each_sample_and_afterwards_none(engine, deployment, request_id):
    assert {sample for sample, _ in linked(engine, deployment)} == set(SAMPLES)
    before = sorted(rows_of(engine))

    assert forget(engine, deployment, request_id=request_id) == [request_id]

    assert linked(engine, deployment) == set()
    assert sorted(rows_of(engine)) == before


def test_the_salt_is_in_no_table_afterwards(engine, deployment, request_id, sql):
    salt = bytes(sql("SELECT salt FROM commitment_salt")[0][0])
    whole = "".join(row for rows in stored(engine).values() for row in rows)
    assert salt.hex() in whole

    forget(engine, deployment, request_id=request_id)

    assert salt.hex() not in "".join(row for rows in stored(engine).values() for row in rows)


def test_no_row_keeps_the_commitment_that_was_its_own(engine, deployment, request_id, sql):
    forget(engine, deployment, request_id=request_id)

    kept = [bytes(each) for (each,) in sql("SELECT commitment FROM forget_row ORDER BY row")]
    assert kept == sorted(kept)
    assert commitments.root(kept) == bytes(sql("SELECT forget_root FROM deletion_request")[0][0])


def test_the_suppression_list_no_longer_says_whose_request_it_was(engine, deployment, request_id, sql):
    other = add_forgotten(engine, deployment.index_key, ["row-train-9"])
    sql("INSERT INTO suppressed (ref, request_id) VALUES ('a', :ours), ('b', :other)", ours=request_id, other=other)

    forget(engine, deployment, request_id=request_id)

    assert sql("SELECT ref, request_id FROM suppressed ORDER BY ref") == [(b"a", None), (b"b", other)]


def test_receipts_are_refused_and_those_that_were_given_remain_valid(api, engine, deployment, request_id):
    given = api.get(f"/deletion-requests/{request_id}/receipt", params={"sample": SAMPLES[0]}).json()

    forget(engine, deployment, request_id=request_id)

    refused = api.get(f"/deletion-requests/{request_id}/receipt", params={"sample": SAMPLES[0]})
    assert (refused.status_code, refused.json()["type"]) == (410, "/docs/problems#forgotten")
    envelope = api.get(f"/deletion-requests/{request_id}/certificate").content
    assert receipts.check(given, read_json(bundle.payload(envelope)))


def test_the_bundle_still_verifies_and_says_that_the_salt_is_forgotten(engine, deployment, request_id, tmp_path):
    forget(engine, deployment, request_id=request_id)
    sequence_all(engine, deployment)
    certificate, told = leaves_of(engine)
    with transaction(engine) as tx:
        ours, its = (proofs.receipt(tx, leaf.entry_id) for leaf in (certificate, told))
    (tmp_path / "bundle.zip").write_bytes(bundle.make(
        envelope=certificate.envelope, tlog_proof=ours.tlog_proof, checkpoint=ours.checkpoint, report_json=REPORT,
        trust=deployment.trust, later=[(told.envelope, its.tlog_proof)],
    ))  # fmt: skip

    last = verify.verify(tmp_path / "bundle.zip", deployment.trust)[-1]

    assert (last.name, last.ok, last.detail) == ("later entries", True, "salt forgotten, entry 1")


def test_forgetting_twice_changes_nothing(engine, deployment, request_id, sql):
    forget(engine, deployment, request_id=request_id)
    before = stored(engine)

    assert forget(engine, deployment, request_id=request_id) == []
    assert stored(engine) == before


def test_a_request_that_is_open_keeps_its_salt(engine, deployment):
    request_id = add_forgotten(engine, deployment.index_key, SAMPLES, ended=None)
    before = stored(engine)

    with pytest.raises(Conflict):
        forget(engine, deployment, request_id=request_id)
    assert forget(engine, deployment, older_than=timedelta()) == []
    assert stored(engine) == before


def test_a_request_whose_rows_are_still_to_be_erased_keeps_its_salt(engine, deployment, request_id, sql):
    job = Job(id=uuid4(), kind="unlearn", status="succeeded", max_attempts=1)
    erasure = Job(kind="erase", max_attempts=1, payload={"unlearn": str(job.id), "rows": True})
    with transaction(engine) as tx:
        tx.add_all([job, erasure])
    sql("UPDATE deletion_request SET job_id = :job", job=job.id)

    with pytest.raises(Conflict, match="not erased yet"):
        forget(engine, deployment, request_id=request_id)
    assert forget(engine, deployment, older_than=timedelta()) == []

    sql("UPDATE job SET status = 'succeeded' WHERE kind = 'erase'")
    assert forget(engine, deployment, request_id=request_id) == [request_id]


def test_an_unknown_request_is_refused(engine, deployment):
    with pytest.raises(NotFound):
        forget(engine, deployment, request_id=uuid4())


def test_all_that_ended_long_enough_ago_are_forgotten_and_no_others(engine, deployment, sql):
    old, older, young = (add_forgotten(engine, deployment.index_key, SAMPLES, ended=days) for days in (31, 400, 29))

    with pytest.raises(Conflict):
        forget(engine, deployment, request_id=young, older_than=timedelta(days=30))
    assert set(forget(engine, deployment, older_than=timedelta(days=30))) == {old, older}
    assert sql("SELECT request_id FROM commitment_salt") == [(young,)]
    assert len(sql("SELECT * FROM ledger_inbox WHERE kind = 'salt'")) == 2


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def expunge(settings: Settings):
    """`expunge ledger forget-salt …` as a process; (exit code, what it printed)."""

    def run(*arguments, **other):
        command = [sys.executable, "-m", "service.cli", "ledger", "forget-salt", *arguments]
        environment = settings.environment() | other
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return run


def test_the_command_forgets_once_and_says_so_twice(expunge, engine, request_id, sql):
    code, said = expunge(str(request_id))

    assert (code, f"The salt of request {request_id} is forgotten." in said) == (0, True)
    assert sql("SELECT count(*) FROM commitment_salt") == [(0,)]
    assert expunge(str(request_id)) == (
        0, f"The salt of request {request_id} was forgotten before; nothing was changed."
    )


def test_the_command_refuses_what_it_cannot_do_in_a_sentence(expunge):
    assert expunge(str(uuid4()))[0] == 1
    assert expunge() == (2, "Name a request, or say --older-than DAYS, or both; nothing was changed.")
    assert {expunge(*wrong)[0] for wrong in (["nonsense"], ["--older-than", "-1"], ["--older-than", "9e9"])} == {2}
    assert expunge("--older-than", "30")[0] == 0


def test_the_command_needs_a_database_and_keys(expunge, tmp_path):
    away = "postgresql+psycopg://nobody:s3cret@127.0.0.1:1/none"

    for other in ({"EXPUNGE_DATABASE_URL": away}, {"EXPUNGE_KEYS": str(tmp_path)}):
        code, said = expunge("--older-than", "1", **other)
        assert code == 1
        assert "s3cret" not in said
