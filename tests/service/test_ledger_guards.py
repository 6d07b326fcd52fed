"""What was written stays written, and a tree that was tampered with is never signed."""

import pytest
from sqlalchemy import select, text

from service.db import ledger
from service.db.session import transaction
from service.db.tables.ledger import LedgerCheckpoint
from service.errors import LedgerBroken
from service.ledger import keys
from service.ledger.sequencer import sequence
from tests.service.ledger_fixture import ORIGIN, issue_one, sequence_all, waiting


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


APPEND_ONLY = ("certificate", "ledger_leaf", "ledger_node", "ledger_checkpoint")


def unguard(connection):
    """What the owner of the tables can do, and why the proof is a checkpoint kept elsewhere."""
    for table in APPEND_ONLY:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ledger_node SET hash = decode(repeat('00', 32), 'hex') WHERE level = 2",
        "DELETE FROM ledger_node WHERE level = 2",
        "UPDATE ledger_head SET frontier = ARRAY[decode(repeat('00', 32), 'hex'), frontier[2]]",
        "UPDATE ledger_checkpoint SET root = decode(repeat('00', 32), 'hex')",
    ],
)
def test_a_tree_that_contradicts_its_last_checkpoint_is_not_signed(engine, deployment, damage):
    for _ in range(5):
        issue_one(engine, deployment)
    sequence_all(engine, deployment)
    with engine.begin() as owner:
        unguard(owner)
        owner.execute(text(damage))
    issue_one(engine, deployment)

    with pytest.raises(LedgerBroken), transaction(engine) as tx:
        sequence(tx, deployment, ORIGIN)

    with transaction(engine) as tx:
        assert list(tx.scalars(select(LedgerCheckpoint.size))) == [5]
        assert waiting(tx) == 1


def test_a_key_of_another_origin_signs_nothing(engine, deployment):
    issue_one(engine, deployment)

    with pytest.raises(LedgerBroken), transaction(engine) as tx:
        sequence(tx, deployment, "another.test/log")

    with transaction(engine) as tx:
        assert ledger.latest_checkpoint(tx) is None
