"""Bundles: any zip tool opens them, and the same parts give the same bytes."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.db.session import transaction
from service.ledger import bundle, keys, proofs, verify
from service.ledger.case import MEMBERS
from service.ledger.sequencer import sequence
from service.ledger.untrusted import pack, unpack
from tests.service.ledger_fixture import ORIGIN, REPORT, issue_one


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


contents = st.dictionaries(st.sampled_from(sorted(MEMBERS)), st.binary(max_size=200))


@given(contents)
def test_archives_are_zips_as_the_standard_library_reads_them(members):
    with zipfile.ZipFile(io.BytesIO(pack(members))) as archive:
        read = {info.filename: archive.read(info) for info in archive.infolist()}

        assert archive.testzip() is None
    assert read == members


@given(contents)
def test_unpacking_gives_back_what_was_packed(members):
    assert unpack(pack(members), MEMBERS) == members


def test_the_verifier_is_a_zip_of_sources():
    with zipfile.ZipFile(io.BytesIO(bundle.verifier())) as archive:
        names = archive.namelist()

        assert names[0] == "__main__.py"
        assert {f"{name.replace('.', '/')}.py" for name in bundle.VERIFIER} <= set(names)
        assert bundle.verifier() == bundle.verifier()


def test_from_a_request_to_a_bundle_that_verifies(engine, deployment, tmp_path):
    certificate_id, _, envelope = issue_one(engine, deployment)
    for _ in range(5):
        issue_one(engine, deployment)
    with transaction(engine) as tx:
        sequence(tx, deployment, ORIGIN)
    with transaction(engine) as tx:
        receipt = proofs.receipt(tx, certificate_id)

    made = bundle.make(
        envelope=envelope, tlog_proof=receipt.tlog_proof, checkpoint=receipt.checkpoint, report_json=REPORT,
        trust=deployment.trust,
    )  # fmt: skip
    (tmp_path / "bundle.zip").write_bytes(made)
    steps = verify.verify(tmp_path / "bundle.zip", deployment.trust)

    assert [step.ok for step in steps] == [True] * 7
    assert steps[2].detail.startswith(f"certificate {certificate_id}")
