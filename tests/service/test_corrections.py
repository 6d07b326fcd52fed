"""Corrections: nothing that was issued changes; later entries and certificates say what counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Engine
from starlette.testclient import TestClient

from service.api.app import create_app
from service.cli import app
from service.db.session import transaction
from service.domain import merkle
from service.domain.schemas import schema
from service.errors import Conflict
from service.ledger import corrections, verify
from service.ledger.envelopes import payload, seal
from service.ledger.keys import Keys, load
from service.settings import Settings
from tests.service.conftest import Trained, administrate
from tests.service.ledger_fixture import leaves_of, sequence_all
from tests.service.world import AUDIT, MODEL, ask, person, stored, together

USELESS = {"name": "nabla_tau", "alpha0": 0, "passes": 0.01}
PLAN = AUDIT | {"alpha": 0.05, "rungs": [{"name": "population"}]}
CROWD = [person(n) for n in range(30)]
Expunge = Callable[..., tuple[int, str]]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("corrections")]       # the world they start from is made once


@pytest.fixture(scope="module")
def judged(trained: Trained, postgres_url: str, keys_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two certified requests, the first forgotten so badly that a later audit sees it, and audits of all sorts."""
    home, name = tmp_path_factory.mktemp("judged"), f"judged_{uuid4().hex}"
    administrate(postgres_url, f"CREATE DATABASE {name} TEMPLATE {trained.copied_to(home)}")
    settings = Settings(
        home=home, database_url=postgres_url.replace("/expunge?", f"/{name}?"), keys=keys_dir,
        origin="test.example/log", device="cpu",
    )
    _fill(settings)
    return Trained(name, home)


def _fill(settings: Settings) -> None:
    from worker.jobs import Workshop, run

    workshop, served = Workshop.of(settings), create_app(settings)
    api = TestClient(served)
    for people in (CROWD, [person(50)]):
        api.put("/models/m/policy", json={"ladder": [USELESS], "audit": AUDIT}).raise_for_status()
        run(workshop, UUID(ask(api, "subjects", people).json()["job_id"]))
    for version, people in ((2, CROWD), (2, CROWD[:1]), (3, CROWD)):
        run(workshop, UUID(_audit(api, version, people)["job_id"]))
    api.post(f"/audits/{_audit(api, 2, CROWD)['id']}/cancel").raise_for_status()
    _audit(api, 2, CROWD)
    workshop.engine.dispose()
    served.state.context.engine.dispose()


def _audit(api: TestClient, version: int, people: list[str]) -> dict[str, Any]:
    target = {"kind": "subjects", "ids": people}
    body = {"model": "m", "version": version, "before": 1, "plan": PLAN, "target": target}
    return api.post("/audits", json=body).json()


@pytest.fixture
def start(judged: Trained, tmp_path: Path) -> str:
    return judged.copied_to(tmp_path)


@pytest.fixture
def keys(keys_dir: Path) -> Keys:
    return load(keys_dir)


@pytest.fixture
def requests(api: TestClient) -> list[dict[str, Any]]:
    """The crowd's, and the other one."""
    return api.get("/deletion-requests").json()["items"][::-1]


@pytest.fixture
def audits(api: TestClient) -> dict[str, str]:
    """Their ids, by what each is good for."""
    names = ("good", "part", "later", "cancelled", "queued")
    return dict(zip(names, (each["id"] for each in api.get("/audits").json()["items"][::-1]), strict=True))


@pytest.fixture
def expunge(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Expunge:
    """`expunge ledger …`; (exit code, all that it printed)."""

    def call(*arguments: str) -> tuple[int, str]:
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
        code: Any = 0
        try:
            app(["ledger", *arguments])
        except SystemExit as end:
            code = end.code
        return code or 0, "".join(capsys.readouterr())

    return call


def statement(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    envelope = api.get(f"/deletion-requests/{request['id']}/certificate").content
    return json.loads(payload(envelope))


def seen(api: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/deletion-requests/{request['id']}").json()["certificate"]


# ---- revoked --------------------------------------------------------------------------------------------------------


def test_a_revoked_certificate_says_so_in_its_view_and_stays_what_it_was(
    api: TestClient, engine: Engine, keys: Keys, requests: Any, expunge: Expunge
) -> None:
    before = api.get(f"/deletion-requests/{requests[0]['id']}/certificate").content

    code, told = expunge("revoke", requests[0]["id"], "--reason", "issued-by-mistake")
    waiting = seen(api, requests[0])
    sequence_all(engine, keys)

    assert (code, waiting["id"] in told) == (0, True)
    assert (waiting["state"], waiting["index"]) == ("revoked", None)
    assert seen(api, requests[0])["state"] == "revoked"
    assert seen(api, requests[1])["state"] == "logged"
    assert api.get(f"/deletion-requests/{requests[0]['id']}/certificate").content == before


def test_a_correction_names_the_entry_that_it_corrects(
    api: TestClient, engine: Engine, keys: Keys, requests: Any, expunge: Expunge
) -> None:
    expunge("revoke", requests[0]["id"], "--reason", "key-compromised")
    sequence_all(engine, keys)

    listed = api.get(f"/deletion-requests/{requests[0]['id']}/entries").json()["items"]
    assert [(each["kind"], each["state"]) for each in listed] == [("certificate", "revoked"), ("correction", None)]
    certificate, correction = listed
    leaf = merkle.leaf_hash(api.get(certificate["link"]).content).hex()
    assert correction["predicate"] == {
        "request_id": requests[0]["id"], "action": "revokes", "by": None, "reason": "key-compromised",
        "leaf_hash": leaf, "certificate_id": certificate["predicate"]["request"]["certificate_id"],
        "at": correction["predicate"]["at"],
    }


def test_a_certificate_is_revoked_once(requests: Any, expunge: Expunge, engine: Engine) -> None:
    first, _ = expunge("revoke", requests[0]["id"], "--reason", "other")
    before = stored(engine)

    second, told = expunge("revoke", requests[0]["id"], "--reason", "data-was-wrong")

    assert (first, second) == (0, 4)
    assert "revoked already" in told
    assert stored(engine) == before


def test_of_many_who_revoke_at_once_one_does(requests: Any, engine: Engine, keys: Keys) -> None:
    def revoke(_: int) -> str:
        try:
            with transaction(engine) as tx:
                corrections.revoke(tx, UUID(requests[0]["id"]), reason="other", key=keys.certificate)
        except Conflict as refusal:
            return refusal.detail
        return "done"

    answers = together(6, revoke)

    assert sorted(answers) == ["The certificate is revoked already"] * 5 + ["done"]


# ---- superseded -----------------------------------------------------------------------------------------------------


@pytest.fixture
def superseded(requests: Any, audits: dict[str, str], expunge: Expunge) -> tuple[int, str]:
    return expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "evidence-was-wrong")


def test_a_certificate_is_superseded_by_what_a_later_audit_saw_also_by_a_leak(
    api: TestClient, requests: Any, audits: dict[str, str], expunge: Expunge
) -> None:
    old, report = statement(api, requests[0]), api.get(f"/audits/{audits['good']}/report").json()

    code, told = expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "evidence-was-wrong")

    new = statement(api, requests[0])
    assert code == 0
    assert told.splitlines()[-1].endswith("counts in its place: LEAK_DETECTED")
    assert new["predicate"]["supersedes"] == old["predicate"]["request"]["certificate_id"]
    assert (old["predicate"]["verdict"]["value"], new["predicate"]["verdict"]["value"]) != ("LEAK_DETECTED",) * 2
    assert new["predicate"]["verdict"]["value"] == report["verdict"]["value"] == "LEAK_DETECTED"
    assert new["predicate"]["verdict"]["policy"]["audit"]["alpha"] == 0.05
    assert api.get(f"/deletion-requests/{requests[0]['id']}").json()["verdict"] == "LEAK_DETECTED"


def test_a_new_certificate_keeps_what_was_asked_and_done(api: TestClient, requests: Any, superseded: Any) -> None:
    listed = api.get("/ledger/entries/0").status_code
    new = statement(api, requests[0])["predicate"]

    assert listed == 404        # nothing has its place yet
    assert new["request"]["request_id"] == requests[0]["id"]
    assert new["procedure"]["method"]["name"] == "nabla_tau"
    assert list(Draft202012Validator(schema(statement(api, requests[0])["predicateType"])).iter_errors(
        statement(api, requests[0]))) == []


def test_old_and_new_certificate_are_both_in_the_ledger_and_only_the_new_one_counts(
    api: TestClient, engine: Engine, keys: Keys, requests: Any, superseded: Any
) -> None:
    sequence_all(engine, keys)

    listed = api.get(f"/deletion-requests/{requests[0]['id']}/entries").json()["items"]
    assert [(each["kind"], each["state"]) for each in listed] == [
        ("certificate", "superseded"), ("certificate", "logged"), ("correction", None)]
    old, new, correction = (each["predicate"] for each in listed)
    assert {name: old[name] for name in ("procedure", "follow_up")} == {
        name: new[name] for name in ("procedure", "follow_up")}
    assert old["request"] | {"certificate_id": new["request"]["certificate_id"]} == new["request"]
    assert (correction["action"], correction["by"]) == ("supersedes", new["request"]["certificate_id"])
    assert seen(api, requests[0]) == {
        "id": new["request"]["certificate_id"], "state": "logged", "index": listed[1]["index"],
        "supersedes": old["request"]["certificate_id"],
    }


@pytest.mark.parametrize(("accept", "begins"), [
    ("application/json", b"{"), ("text/html", b"<!doctype html>"), ("application/pdf", b"%PDF")])
def test_the_report_of_a_superseded_certificate_is_that_of_the_new_one(
    api: TestClient, requests: Any, audits: dict[str, str], superseded: Any, accept: str, begins: bytes
) -> None:
    told = api.get(f"/deletion-requests/{requests[0]['id']}/audit-report", headers={"Accept": accept}).content

    assert told == api.get(f"/audits/{audits['good']}/report", headers={"Accept": accept}).content
    assert told.lower().startswith(begins.lower())


def test_the_bundle_of_a_new_certificate_verifies(
    api: TestClient, engine: Engine, keys: Keys, requests: Any, superseded: Any, tmp_path: Path
) -> None:
    sequence_all(engine, keys)

    (tmp_path / "bundle.zip").write_bytes(api.get(f"/deletion-requests/{requests[0]['id']}/bundle").content)

    steps = verify.verify(tmp_path / "bundle.zip", keys.trust)
    assert all(step.ok for step in steps), steps[-1]


def test_a_certificate_that_supersedes_can_be_superseded_and_revoked(
    api: TestClient, requests: Any, audits: dict[str, str], superseded: Any, expunge: Expunge
) -> None:
    second = seen(api, requests[0])
    code, _ = expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "audited-again")
    third = seen(api, requests[0])

    revoked, _ = expunge("revoke", requests[0]["id"], "--reason", "other")

    assert (code, revoked, third["supersedes"]) == (0, 0, second["id"])
    assert seen(api, requests[0]) == third | {"state": "revoked"}


def test_every_entry_that_a_correction_makes_gets_one_place(engine: Engine, keys: Keys, superseded: Any) -> None:
    sequence_all(engine, keys)

    kinds = [leaf.kind for leaf in leaves_of(engine)]

    assert kinds == ["certificate", "certificate", "certificate", "correction"]


def test_the_stream_of_a_request_tells_of_its_correction(
    api: TestClient, requests: Any, superseded: Any, sql: Any
) -> None:
    stream = api.get(f"/deletion-requests/{requests[0]['id']}/events").text

    (told,) = sql("SELECT data FROM request_event WHERE kind = 'corrected'")
    assert "event: corrected" in stream.splitlines()
    assert told[0] == {
        "action": "supersedes", "certificate": seen(api, requests[0])["supersedes"], "reason": "evidence-was-wrong",
        "by": seen(api, requests[0])["id"],
    }


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("audit", "code", "why"), [
    ("part", 4, "did not look at all rows"), ("later", 4, "another version than the one"),
    ("cancelled", 4, "without a report"), ("queued", 5, "has not ended"),
])
def test_an_audit_of_something_else_supersedes_nothing(
    engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge, audit: str, code: int, why: str
) -> None:
    before = stored(engine)

    answer, told = expunge("supersede", requests[0]["id"], "--audit", audits[audit], "--reason", "audited-again")

    assert (answer, why in told) == (code, True), told
    assert stored(engine) == before


def test_an_audit_against_another_version_before_supersedes_nothing(
    engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge
) -> None:
    before = stored(engine)

    answer, told = expunge("supersede", requests[1]["id"], "--audit", audits["later"], "--reason", "audited-again")

    assert (answer, "compares with another version" in told) == (4, True), told
    assert stored(engine) == before


def test_an_audit_of_another_model_supersedes_nothing(
    api: TestClient, engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge, sql: Any
) -> None:
    api.post("/models", json=MODEL | {"name": "n"}).raise_for_status()
    sql("UPDATE audit SET model_id = (SELECT id FROM model WHERE name = 'n') WHERE id = :id", id=audits["good"])
    before = stored(engine)

    answer, told = expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "audited-again")

    assert (answer, "of another model" in told) == (4, True), told
    assert stored(engine) == before


def test_a_revoked_certificate_is_not_superseded(
    engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge
) -> None:
    expunge("revoke", requests[0]["id"], "--reason", "other")
    before = stored(engine)

    code, told = expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "audited-again")

    assert (code, "revoked already" in told) == (4, True)
    assert stored(engine) == before


def test_what_is_not_there_is_not_corrected(
    api: TestClient, engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge
) -> None:
    nobody, waiting = str(uuid4()), ask(api, "subjects", [person(51)]).json()["id"]
    before = stored(engine)

    answers = [
        expunge("revoke", nobody, "--reason", "other"),
        expunge("revoke", waiting, "--reason", "other"),
        expunge("supersede", nobody, "--audit", audits["good"], "--reason", "other"),
        expunge("supersede", requests[0]["id"], "--audit", nobody, "--reason", "other"),
    ]

    assert [code for code, _ in answers] == [3, 3, 3, 3]
    assert [told.splitlines()[0] for _, told in answers] == [
        "There is no deletion request of this id", "The request has no certificate yet",
        "There is no deletion request of this id", "There is no audit of this id",
    ]
    assert stored(engine) == before


def test_a_report_that_is_gone_or_damaged_supersedes_nothing(
    api: TestClient, engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge, sql: Any, tmp_path: Path
) -> None:
    of_audit = "SELECT result->'report'->>'json' FROM job JOIN audit ON job.id = job_id WHERE audit.id = :id"
    ((key,),) = sql(of_audit, id=audits["good"])
    (tmp_path / "store" / key).chmod(0o600)
    (tmp_path / "store" / key).write_bytes(b"{}")
    before = stored(engine)

    answers = [expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "other")]
    (tmp_path / "store" / key).unlink()
    answers.append(expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "other"))

    assert [code for code, _ in answers] == [1, 3]
    assert not any("Traceback" in told for _, told in answers)
    assert stored(engine) == before


def test_a_certificate_of_an_earlier_schema_is_not_superseded(
    engine: Engine, requests: Any, audits: dict[str, str], expunge: Expunge, sql: Any, keys: Keys, api: TestClient
) -> None:
    said = statement(api, requests[0])
    del said["predicate"]["procedure"]["environment"]
    older = seal(json.dumps(said).encode(), keys.certificate)
    sql("ALTER TABLE certificate DISABLE TRIGGER ALL")
    sql("UPDATE certificate SET envelope = :older WHERE request_id = :id", older=older, id=requests[0]["id"])
    before = stored(engine)

    code, told = expunge("supersede", requests[0]["id"], "--audit", audits["good"], "--reason", "other")

    assert (code, "can only be revoked" in told) == (4, True)
    assert stored(engine) == before
    assert expunge("revoke", requests[0]["id"], "--reason", "other")[0] == 0


@pytest.mark.parametrize("arguments", [
    ("revoke", "1; DROP TABLE job", "--reason", "other"), ("revoke", str(uuid4())), ("supersede", str(uuid4())),
    ("revoke", str(uuid4()), "--reason", "because"),
])
def test_arguments_that_make_no_sense_are_refused(expunge: Expunge, engine: Engine, arguments: tuple[str, ...]) -> None:
    before = stored(engine)

    code, _ = expunge(*arguments)

    assert code not in (0, None)
    assert stored(engine) == before


@pytest.mark.parametrize(("url", "why"), [
    (None, "EXPUNGE_DATABASE_URL is not set"), ("postgresql+psycopg://nobody@127.0.0.1:1/none", "does not answer"),
])
def test_without_a_database_a_correction_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys_dir: Path, url: str | None, why: str
) -> None:
    monkeypatch.setenv("EXPUNGE_KEYS", str(keys_dir))
    if url is not None:
        monkeypatch.setenv("EXPUNGE_DATABASE_URL", url)

    with pytest.raises(SystemExit) as end:
        app(["ledger", "revoke", str(uuid4()), "--reason", "other"])

    told = "".join(capsys.readouterr())
    assert (end.value.code, why in told, "nobody" in told) == (1, True, False)
