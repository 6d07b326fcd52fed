"""Ledgers with many small entries, and what somebody with every right can do to them."""

from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

from pydantic import SecretStr
from sqlalchemy import text

from service.db import ledger
from service.db.session import transaction
from service.domain import merkle
from service.ledger import anchors
from service.ledger.checkpoints import read_keys
from service.ledger.monitor import Monitor
from service.ledger.publishing import publish
from service.ledger.sequencer import drain
from service.storage import open_store
from tests.service.ledger_fixture import ORIGIN, leaves_of

GUARDED = ("certificate", "ledger_leaf", "ledger_node", "ledger_checkpoint", "ledger_anchored")


def enqueue(engine, entries):
    with transaction(engine) as tx:
        for entry in entries:
            ledger.enqueue(tx, uuid4(), entry, kind="attempt", requests=[])


def grow(engine, deployment, by, *, limit=256):
    """A ledger with so many entries more, a checkpoint for each `limit` of them."""
    size = len(leaves_of(engine))
    enqueue(engine, [b"entry %d" % index for index in range(size, size + by)])
    assert drain(engine, deployment, ORIGIN, limit, batches=by) == by


def root_of(engine, size):
    return merkle.root(merkle.leaf_hash(leaf.envelope) for leaf in leaves_of(engine)[:size])


def as_owner(engine, *statements, **values):
    """What no trigger and no role keeps from whoever owns the tables."""
    with engine.begin() as owner:
        for table in GUARDED:
            owner.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        for statement in statements:
            owner.execute(text(statement), values)


def rewrite(engine, deployment, change):
    """Another history, whole in itself: the ledger is made anew from changed entries, and signed with its own key."""
    with transaction(engine) as tx:
        sizes = [0, *tx.scalars(text("SELECT size FROM ledger_checkpoint ORDER BY size"))]
    entries = change([leaf.envelope for leaf in leaves_of(engine)])
    as_owner(engine, "TRUNCATE ledger_leaf, ledger_node, ledger_checkpoint, ledger_head")
    for first, end in pairwise(sizes):
        enqueue(engine, entries[first:end])
        drain(engine, deployment, ORIGIN)


class Watched:
    """A ledger, its published copy, an anchor, and a monitor that knows the public keys."""

    def __init__(self, engine, deployment, home):
        self.engine, self.keys = engine, deployment
        self.log = open_store((home / "store").as_uri()).named("log")
        self.folder = home / "outside"
        self.folder.mkdir()
        self.anchors = anchors.read(SecretStr(self.folder.as_uri()))
        self.public = read_keys(deployment.trust)

    def grow(self, by, limit=256):
        grow(self.engine, self.keys, by, limit=limit)
        self.tell()

    def tell(self):
        publish(self.engine, self.log, ORIGIN)
        anchors.anchor(self.engine, self.anchors, every=timedelta(0))

    def look(self, **more):
        return Monitor(self.engine, self.log, self.public, self.anchors, **more).look()

    def forget_the_copy(self):
        for name in list(self.log.names()):
            self.log.remove(name)
