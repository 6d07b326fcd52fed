"""What the ledger's tests are filled with: requests, statements and certificates that hold no person."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from sqlalchemy import func, select, text

from service.db.session import transaction
from service.db.tables import CommitmentSalt, DeletionRequest, ForgetRow
from service.db.tables.ledger import Certificate, LedgerCheckpoint, LedgerInbox, LedgerLeaf, LedgerNode
from service.domain import certificates, commitments, entries, merkle
from service.ledger import bundle, checkpoints, keys
from service.ledger.append import issue
from service.ledger.case import MEMBERS
from service.ledger.checkpoints import Proof
from service.ledger.envelopes import seal
from service.ledger.sequencer import sequence
from service.ledger.untrusted import pack, unpack

ORIGIN = "test.example/log"
REPORT = b'{"attacks":[]}'
POLICY = {"audit": {"alpha": 0.001, "margin": 0.05}, "ladder": [{"name": "nabla_tau"}]}
CERTIFICATE, REQUEST, INDEX, SIZE = UUID(int=1), UUID(int=2), 4, 11
PDF = b"%PDF-1.7 a report"
RECIPE_REPORT = b'{"schema_version":1}'
WITH_ALL = {"report.pdf": sha256(PDF).hexdigest(), "recipe-report.json": sha256(RECIPE_REPORT).hexdigest()}


def add_request(tx, **more):
    """A deletion request of a model that nobody needs here, so its foreign keys sleep."""
    now = datetime.now(UTC)
    known = {"state": "auditing", "n_samples": 3, "forget_root": b"\0" * 32, **more}
    request = DeletionRequest(
        id=uuid4(), model_id=uuid4(), target_kind="samples", n_targets=3, ground="art-17-1-b", received_at=now,
        due_at=now, due_basis="test", **known,
    )  # fmt: skip
    tx.execute(text("SET LOCAL session_replication_role = replica"))
    tx.add(request)
    tx.flush()
    tx.execute(text("SET LOCAL session_replication_role = DEFAULT"))
    return request.id


def add_forgotten(engine, index_key, samples, ended=1):
    """A request for these samples, with the commitments that intake would have made, of a data set without an index.

    Args:
        ended: so many days ago; None: it has not.
    """
    salt = commitments.new_salt()
    refs = [commitments.reference(index_key, "sample", each) for each in samples]
    made = [commitments.commitment(salt, ref) for ref in refs]
    with transaction(engine) as tx:
        request_id = add_request(
            tx, forget_root=commitments.root(made), n_samples=len(samples),
            ended_at=datetime.now(UTC) - timedelta(days=ended) if ended is not None else None,
        )
        tx.add_all(ForgetRow(request_id=request_id, row=row, commitment=each) for row, each in enumerate(made))
        tx.add(CommitmentSalt(request_id=request_id, salt=salt))
    return request_id


def issue_of(engine, deployment, request_id):
    """The certificate of a stored request, in the inbox."""
    certificate_id = uuid4()
    with transaction(engine) as tx:
        request = tx.get_one(DeletionRequest, request_id)
        said = predicate(certificate_id, request_id)
        asked = said.request.model_copy(
            update={"forget_root": request.forget_root.hex(), "n_samples": request.n_samples}
        )
        statement = certificates.statement(subjects(), said.model_copy(update={"request": asked}))
        envelope = seal(statement, deployment.certificate)
        issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope)
    return certificate_id


def predicate(certificate_id, request_id, recipe_audit=None):
    method = {"name": "nabla_tau", "lr": 1e-3, "passes": 3.0}
    start, end = datetime(2025, 3, 1, 9, tzinfo=UTC), datetime(2025, 3, 1, 9, 0, 7, tzinfo=UTC)
    due = datetime(2025, 4, 1, 23, 59, 59, tzinfo=UTC)
    leaked = certificates.Attempt(recipe={"name": "nabla_tau"}, outcome="leaked", verdict="LEAK_DETECTED", seconds=3)
    passed = certificates.Attempt(
        recipe=method, outcome="published", verdict="EQUIVALENT_WITHIN_MARGIN", seconds=4.5, headline={"auc": 0.5016}
    )
    metric = certificates.Metric(
        name="auc_loss", definition="area under the ROC curve of the loss", before=0.763, after=0.5 + 1 / 3e4,
        reference=0.496, before_ci=(0.75, 0.78), after_ci=(0.48, 0.52), reference_ci=(0.47, 0.52),
    )  # fmt: skip
    environment = certificates.Environment(
        platform="Linux", accelerator=None, driver=None, threads=1, deterministic=False, image_sha256=None
    )
    attack = certificates.Attack(
        rung="population", signals=("loss",), n_member=3, n_nonmember=90, n_models=1, smallest_detectable=0.08
    )
    weights = certificates.Thing(kind="weights", sha256="11" * 32)
    return certificates.Predicate(
        request=certificates.Request(
            certificate_id=certificate_id, request_id=request_id, target_kind="samples", n_samples=3,
            forget_root="0f" * 32, ground="art-17-1-b", received_at=start, due_at=due,
            due_basis="one month",
        ),
        procedure=certificates.Procedure(
            method=method, training_sha256="ef" * 32, environment=environment, job_id=UUID(int=3), runs=1,
            parent_job_id=UUID(int=4), accelerator_seconds=0, seed=7,
            code_digest="ab" * 32, versions={"torch": "2.11.0"}, device="cpu", started_at=start,
            finished_at=end, seconds=7.5, attempts=(leaked, passed),
        ),
        evidence=certificates.Evidence(
            attacks=(attack,), intervals="95 %", metrics=(metric,),
            report_sha256=sha256(REPORT).hexdigest(), references_k=1, recipe_audit=recipe_audit
        ),
        verdict=certificates.Verdict(
            value="EQUIVALENT_WITHIN_MARGIN", reason="within the margin", policy=POLICY, exact=False,
            policy_sha256=sha256(certificates.canonical(POLICY)).hexdigest(),
        ),
        follow_up=certificates.FollowUp(
            erase_by=due, to_erase=(weights,), erased=(weights,), suppressed=True,
            notified=(certificates.Notified(recipient="bc" * 32, at=end),),
        ),
        limits=certificates.limits(exact=False),
    )  # fmt: skip


def subjects(**more):
    return {"model-before": "11" * 32, "model-after": "22" * 32, "report.json": sha256(REPORT).hexdigest(), **more}


def sealed(deployment, certificate_id, request_id):
    return seal(certificates.statement(subjects(), predicate(certificate_id, request_id)), deployment.certificate)


def issue_one(engine, deployment):
    certificate_id = uuid4()
    with transaction(engine) as tx:
        request_id = add_request(tx)
        envelope = sealed(deployment, certificate_id, request_id)
        issue(tx, request_id=request_id, certificate_id=certificate_id, envelope=envelope)
    return certificate_id, request_id, envelope


def sequence_all(engine, deployment, limit=256):
    total = 0
    while True:
        with transaction(engine) as tx:
            done = sequence(tx, deployment, ORIGIN, limit)
        if not done:
            return total
        total += done


def waiting(tx):
    return tx.scalar(select(func.count()).select_from(LedgerInbox))


def leaves_of(engine):
    with transaction(engine) as tx:
        return tx.scalars(select(LedgerLeaf).order_by(LedgerLeaf.idx)).all()


def kill(engine, dying):
    """What kill -9 of the client, or a power cut of the server, does to a transaction."""
    backend = dying.scalar(text("SELECT pg_backend_pid()"))
    with engine.connect() as killer:
        killer.execute(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": backend})


def assert_whole(engine, deployment):
    """No gap, no fork, no loss: a checkpoint is the tree over the first entries, a certificate is one entry."""
    leaves = leaves_of(engine)
    hashes = [merkle.leaf_hash(leaf.envelope) for leaf in leaves]
    with transaction(engine) as tx:
        notes = tx.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size)).all()
        issued = set(tx.scalars(select(Certificate.id)))
        waiting = set(tx.scalars(select(LedgerInbox.entry_id)))
        nodes = tx.scalar(select(func.count()).select_from(LedgerNode))
    assert [leaf.idx for leaf in leaves] == list(range(len(leaves)))
    assert [leaf.leaf_hash for leaf in leaves] == hashes
    assert {leaf.entry_id for leaf in leaves} | waiting == issued
    assert not {leaf.entry_id for leaf in leaves} & waiting
    assert nodes == sum(len(leaves) >> level for level in range(len(leaves).bit_length()))
    for note in notes:
        checkpoint = checkpoints.parse(note.note)
        checkpoints.check_note(checkpoint, [deployment.log.vkey])
        assert (checkpoint.origin, checkpoint.size) == (ORIGIN, note.size)
        assert checkpoint.root == note.root == merkle.root(hashes[: note.size])
    assert (notes[-1].size if notes else 0) == len(leaves)


def tree(leaves):
    def hash_of(subtree):
        level, index = subtree
        return merkle.root(leaves[index << level : (index + 1) << level])

    return hash_of


@dataclass(frozen=True)
class Log:
    """A ledger in memory, in which one envelope is entry INDEX, and `others` have their places."""

    keys: keys.Keys
    envelope: bytes
    others: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def leaves(self):
        known = {**self.others, INDEX: self.envelope}
        return [merkle.leaf_hash(known.get(number, b"entry %d" % number)) for number in range(41)]

    def checkpoint(self, size=SIZE):
        log = self.keys.log
        return checkpoints.write(log.vkey, size, merkle.root(self.leaves[:size]), sign=log.sign)

    def proof(self, size=SIZE, index=INDEX):
        path = merkle.inclusion(index, size, tree(self.leaves))
        return checkpoints.write_proof(
            Proof(leaf=self.leaves[index], index=index, path=tuple(path), note=self.checkpoint(size))
        )

    def consistency(self, first, second):
        return checkpoints.write_path(merkle.consistency(first, second, tree(self.leaves)))

    def bundle(self, *, report=REPORT, pdf=PDF, recipe=RECIPE_REPORT, later=None):
        told = [(self.others[index], self.proof(index=index)) for index in sorted(self.others)]
        return bundle.make(
            envelope=self.envelope, tlog_proof=self.proof(), checkpoint=self.checkpoint(), report_json=report,
            report_pdf=pdf, recipe_report=recipe, trust=self.keys.trust, later=told if later is None else later,
        )  # fmt: skip


AT = datetime(2025, 3, 9, tzinfo=UTC)
LEAKED = entries.Attempted(
    request_ids=(REQUEST, UUID(int=9)), job_id=UUID(int=3), run=1, rung=1, policy_sha256="cd" * 32, at=AT,
    attempt=certificates.Attempt(
        recipe={"name": "nabla_tau"}, outcome="leaked", verdict="LEAK_DETECTED", seconds=3, report_sha256="ac" * 32
    ),
)  # fmt: skip
ERASED = entries.Erased(
    request_ids=(REQUEST,), job_id=UUID(int=5), rows=3, suppressed=3, limits=("Backups are not covered.",), at=AT,
    erased=(certificates.Thing(kind="weights", sha256="11" * 32),),
    kept=(entries.Kept(kind="dataset-rows", count=2, why="Another model has still to forget them."),),
)  # fmt: skip
FORGOTTEN = entries.SaltForgotten(request_id=REQUEST, at=AT)


def sealed_entry(deployment, entry):
    return seal(entries.statement(entry, {"subject": "ad" * 32}), deployment.certificate)


def other_entries(deployment):
    """What else a ledger may say of the request of a certificate that still counts."""
    return {index: sealed_entry(deployment, entry) for index, entry in ((2, LEAKED), (7, ERASED), (9, FORGOTTEN))}


def unchanged(_):
    pass


def statement(change=unchanged):
    audited = certificates.RecipeAudit(
        report_sha256=WITH_ALL["recipe-report.json"], n_models=64, auc_original=0.74, auc=0.52, same_code=True
    )
    read = json.loads(certificates.statement(subjects(**WITH_ALL), predicate(CERTIFICATE, REQUEST, audited)))
    change(read)
    return json.dumps(read, sort_keys=True, separators=(",", ":")).encode()


def changed(data, **members):
    """The same archive with other members, packed as a bundle is packed."""
    read = unpack(data, MEMBERS)
    return pack({name: members.get(name.partition(".")[0], content) for name, content in read.items()})
