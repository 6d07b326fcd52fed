"""A request's evidence over HTTP, checked as its person would: bundle, receipt, and what is logged afterwards."""

import json
from uuid import UUID

import pytest

from service.cli import app
from service.db.session import transaction
from service.ledger import corrections, salts, verify
from service.ledger.case import MEMBERS
from service.ledger.untrusted import unpack
from tests.service.ledger_fixture import sequence_all
from tests.service.world import AUDIT, ask


@pytest.fixture
def start(trained, tmp_path):
    return trained.copied_to(tmp_path)


SAMPLES = ["row-train-2-0", "row-train-3-1"]


@pytest.fixture
def certified(api, work, engine, workshop):
    """A request for two samples, certified and logged; the data set keeps the rows."""
    api.put("/models/m/policy", json={"audit": AUDIT, "erasure": {"rows": False}})
    request_id = ask(api, "samples", SAMPLES).json()["id"]
    work()
    sequence_all(engine, workshop.keys)
    return request_id


@pytest.fixture
def check(api, workshop, tmp_path):
    """Fetch bundle and receipt, and verify them; the steps."""

    def run(request_id, receipt=None):
        data = api.get(f"/deletion-requests/{request_id}/bundle").content
        (tmp_path / "bundle.zip").write_bytes(data)
        return verify.verify(tmp_path / "bundle.zip", workshop.keys.trust, receipt=receipt)

    return run


@pytest.mark.slow
def test_the_whole_way_of_a_persons_evidence(api, certified, check, engine, workshop, tmp_path, capsys):
    link = f"/deletion-requests/{certified}"
    given = {sample: api.get(f"{link}/receipt", params={"sample": sample}) for sample in SAMPLES}
    for answer in given.values():
        assert check(certified, answer.content)[-1].detail == "the sample is one of the 2 of the request"
    assert api.get(f"{link}/receipt", params={"sample": "row-train-1-0"}).status_code == 404
    first = unpack(api.get(f"{link}/bundle").content, MEMBERS)

    # as a command
    (tmp_path / "receipt.json").write_bytes(given[SAMPLES[0]].content)
    (tmp_path / "expunge.pub").write_text(workshop.keys.trust)
    with pytest.raises(SystemExit) as ended:
        app(["verify-receipt", *(str(tmp_path / name) for name in ("receipt.json", "bundle.zip")),
             "--key", str(tmp_path / "expunge.pub")])
    assert ended.value.code == 0
    assert "ok   10 receipt: the sample is one of the 2 of the request" in capsys.readouterr().out

    # the salt is forgotten: a new bundle says so and differs in nothing else
    with transaction(engine) as tx:
        salts.forget(tx, workshop.keys.certificate, request_id=UUID(certified))
    sequence_all(engine, workshop.keys)
    assert "salt forgotten" in check(certified)[-1].detail
    second = unpack(api.get(f"{link}/bundle").content, MEMBERS)
    assert {name for name in MEMBERS if first.get(name) != second.get(name)} == {"later.json"}
    assert api.get(f"{link}/receipt", params={"sample": SAMPLES[0]}).status_code == 410

    # a certificate that is revoked is no longer valid, and neither is its receipt
    with transaction(engine) as tx:
        corrections.revoke(tx, UUID(certified), reason="issued-by-mistake", key=workshop.keys.certificate)
    sequence_all(engine, workshop.keys)
    last = check(certified, given[SAMPLES[0]].content)[-1]
    assert (last.number, last.detail.partition(":")[0]) == (9, "the certificate was revoked (issued-by-mistake)")
    assert json.loads(given[SAMPLES[0]].content)["sample"] == SAMPLES[0]
