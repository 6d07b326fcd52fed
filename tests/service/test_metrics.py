"""What Prometheus is told of the ledger."""

import re
from datetime import timedelta

import pytest
from pydantic import SecretStr

from service.db import checks
from service.db.session import transaction
from service.ledger import anchors, gauges, keys
from service.ledger.gauges import Gauge
from tests.service.logs import enqueue, grow


@pytest.fixture
def read(api):
    """The gauges of GET /metrics, each line read as the text format says."""

    def read():
        answer = api.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.text.split("\n")
        assert lines.pop() == ""
        samples = [line for line in lines if not line.startswith("# ")]
        assert all(re.fullmatch(r'expunge_[a-z_]+(\{anchor="[0-9a-f]{16}"\})? [0-9.e+-]+', line) for line in samples)
        return {name: float(value) for name, value in (line.split(" ") for line in samples)}

    return read


def test_a_new_ledger_has_nothing_and_was_never_checked(read):
    assert read() == {"expunge_ledger_size": 0, "expunge_ledger_inbox": 0, "expunge_ledger_inbox_oldest_seconds": 0}


def test_every_gauge_says_what_the_rows_say(read, engine, keys_dir, tmp_path):
    outside = anchors.read(SecretStr(tmp_path.as_uri()))
    grow(engine, keys.load(keys_dir), 5)
    anchors.anchor(engine, outside, every=timedelta(0))
    grow(engine, keys.load(keys_dir), 2)
    enqueue(engine, [b"one", b"two", b"three"])
    with transaction(engine) as tx:
        checks.add(tx, size=7, fault=None, seconds=0.1)
    found = read()

    with transaction(engine) as tx:
        looked = checks.latest(tx).at.timestamp()
    assert found.pop("expunge_ledger_last_check_timestamp_seconds") == pytest.approx(looked, abs=1e-3)
    assert found.pop("expunge_ledger_inbox_oldest_seconds") > 0
    assert found == {
        "expunge_ledger_consistency_ok": 1,
        "expunge_ledger_checked_size": 7,
        "expunge_ledger_size": 7,
        "expunge_ledger_inbox": 3,
        f'expunge_ledger_anchored_size{{anchor="{outside[0].digest}"}}': 5,
    }


def test_the_last_check_counts(read, engine):
    with transaction(engine) as tx:
        checks.add(tx, size=7, fault=None, seconds=0.1)
        checks.add(tx, size=8, fault="Entry 3 is missing", seconds=0.1)

    assert read()["expunge_ledger_consistency_ok"] == 0


def test_every_gauge_has_a_help_line_and_its_type():
    text = gauges.write([Gauge("a", "What a is.", {"": 1.0}), Gauge("b", "What b is.", {})])

    assert text == "# HELP a What a is.\n# TYPE a gauge\na 1\n# HELP b What b is.\n# TYPE b gauge\n"
