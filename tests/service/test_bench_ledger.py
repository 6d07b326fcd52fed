"""`expunge bench ledger` runs, says what it promises, and would see a ledger that is not whole."""

import json
import subprocess
import sys
from collections.abc import Callable
from math import log2
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cyclopts.exceptions import CycloptsError
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from service import cli
from service.bench import reading, sample
from service.bench.deployment import ORIGIN, Deployment, envelope
from service.bench.faults import Faults, inspected
from service.bench.loading import load
from service.db import ledger
from service.db.session import transaction
from service.errors import LedgerBroken
from service.ledger import keys
from service.ledger.sequencer import drain

PROMISED = {"append_per_s", "inbox_per_s", "floor_per_s", "proof_p99_ms", "verify_s", "replay_per_s", "entries"}


@pytest.mark.slow
def test_the_quick_run_prints_one_json_object_with_the_promised_numbers() -> None:
    command = [sys.executable, "-m", "service.cli", "bench", "ledger", "--json", "--quick", "--entries", "3000"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    found = json.loads(done.stdout)
    assert found.keys() >= PROMISED
    assert all(found[name] > 0 for name in PROMISED)
    assert found["entries"] == 3000
    assert 0 < found["proof_rows"] <= 2 * log2(3000)
    assert found["faults"]["sound"]
    assert len(found["refusals_s"]) == 6


@pytest.mark.parametrize("wrong", ["--entries=0", "--bytes=70000", "--fault-seconds=-1", "--entries=many"])
def test_arguments_that_make_no_sense_are_refused_before_anything_starts(wrong: str) -> None:
    with pytest.raises(CycloptsError, match=wrong.partition("=")[0]):
        cli.app.parse_args(["bench", "ledger", wrong], print_error=False, exit_on_error=False)


# ---- a log that was loaded ------------------------------------------------------------------------------------------


@pytest.fixture
def of(database_url: str, tmp_path: Path) -> Deployment:
    keys.new(tmp_path / "keys", ORIGIN)
    return Deployment(database_url, tmp_path)


@pytest.mark.parametrize("entries", [1, 255, 1000])
def test_a_loaded_log_is_whole_and_the_sequencer_goes_on_with_it(of: Deployment, engine: Engine, entries: int) -> None:
    load(of, of.url, entries=entries, size=100)
    before = reading.replay(of, of.url)
    with transaction(engine) as tx:
        ledger.enqueue(tx, uuid4(), envelope(0, 100), kind="salt", requests=[])

    drained = drain(engine, of.keys, ORIGIN)

    assert drained == 1
    assert before > 0
    assert reading.replay(of, of.url) > 0
    with transaction(engine) as tx:
        assert ledger.head(tx).size == entries + 1


def test_a_replay_that_finds_a_difference_has_no_speed(of: Deployment, sql: Callable[..., Any]) -> None:
    load(of, of.url, entries=300, size=100)
    sql("ALTER TABLE ledger_leaf DISABLE TRIGGER no_change")
    sql("UPDATE ledger_leaf SET envelope = 'x' WHERE idx = 200")

    with pytest.raises(LedgerBroken, match="200"):
        reading.replay(of, of.url)


def test_proofs_are_measured_by_the_rows_that_they_read(of: Deployment) -> None:
    load(of, of.url, entries=10_000, size=100)

    both = [measure(of.url, size=10_000, n=50) for measure in (reading.inclusions, reading.consistencies)]

    assert all(0 < each.rows <= 2 * log2(10_000) for each in both)
    assert all(0 < each.p50_ms <= each.p99_ms for each in both)


@given(number=st.integers(0, 2**128), size=st.integers(80, 65_535))
def test_an_envelope_has_its_size_and_is_like_no_other(number: int, size: int) -> None:
    made = envelope(number, size)

    assert len(made) == size
    assert made == envelope(number, size)
    assert made != envelope(number + 1, size)
    assert json.loads(made)["number"] == number


# ---- what is looked at after the sequencer was killed ---------------------------------------------------------------

ENTRY, OF_ONE = "idx, leaf_hash, entry_id, kind, envelope", "FROM ledger_leaf LIMIT 1"
DAMAGES = {
    "altered": "UPDATE ledger_leaf SET envelope = 'x' WHERE idx = 1",
    "gaps": "DELETE FROM ledger_leaf WHERE idx = 1",
    "forks": "UPDATE ledger_checkpoint SET root = leaf_hash FROM ledger_leaf WHERE idx = 1",
    "unknown": f"INSERT INTO ledger_leaf ({ENTRY}) SELECT 3, leaf_hash, gen_random_uuid(), kind, envelope {OF_ONE}",
    "doubled": f"INSERT INTO ledger_leaf ({ENTRY}) SELECT 3, leaf_hash, entry_id, kind, envelope {OF_ONE}",
    "lost": f"INSERT INTO ledger_inbox (entry_id, kind, envelope) SELECT entry_id, kind, envelope {OF_ONE}",
}


@pytest.fixture
def issued(of: Deployment, engine: Engine) -> set[UUID]:
    """Three certificates, in the log."""
    with transaction(engine) as tx:
        model_id = sample.add_model(tx)
        made = {sample.certify(tx, sample.add_request(tx, model_id), of.keys.certificate) for _ in range(3)}
    drain(engine, of.keys, ORIGIN, limit=2)
    return made


def look(of: Deployment, engine: Engine, issued: set[UUID]) -> Faults:
    with transaction(engine) as tx:
        return inspected(tx, of.keys, Faults(kills=0, while_killed=0, certificates=len(issued)), issued)


def test_a_log_that_is_whole_is_sound(of: Deployment, engine: Engine, issued: set[UUID]) -> None:
    found = look(of, engine, issued)

    assert found.sound
    assert found.checkpoints == 2


@pytest.mark.parametrize("what", DAMAGES)
def test_every_damage_is_counted(
    of: Deployment, engine: Engine, issued: set[UUID], sql: Callable[..., Any], what: str
) -> None:
    for table in ("ledger_leaf", "ledger_checkpoint"):
        sql(f"ALTER TABLE {table} DISABLE TRIGGER no_change")
    sql("ALTER TABLE ledger_leaf DROP CONSTRAINT uq_ledger_leaf_entry_id")
    sql(DAMAGES[what])

    found = look(of, engine, issued)

    assert getattr(found, what) > 0
    assert not found.sound


def test_a_certificate_that_somebody_was_told_of_and_is_nowhere_is_lost(
    of: Deployment, engine: Engine, issued: set[UUID]
) -> None:
    assert look(of, engine, issued | {uuid4()}).lost == 1


def test_a_checkpoint_that_another_key_signed_is_a_fork(
    of: Deployment, engine: Engine, issued: set[UUID], tmp_path: Path
) -> None:
    other = Deployment(of.url, tmp_path / "other")
    keys.new(other.folder / "keys", ORIGIN)

    assert look(other, engine, issued).forks == 2
