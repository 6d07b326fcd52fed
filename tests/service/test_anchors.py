"""Checkpoints written down outside: in a folder, in a bucket that forgets nothing, at somebody's server."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.db import anchored, ledger
from service.db.session import transaction
from service.errors import BadInput
from service.ledger import anchors, keys
from service.ledger.anchors import ANCHOR, anchor
from tests.service.logs import grow, rewrite

AT_ONCE = timedelta(0)


@pytest.fixture
def deployment(keys_dir):
    return keys.load(keys_dir)


def read(*urls, endpoint=None):
    return anchors.read(SecretStr(",".join(urls)), endpoint=endpoint)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def newest(engine):
    with transaction(engine) as tx:
        checkpoint = ledger.latest_checkpoint(tx)
        return checkpoint.size, checkpoint.note


def sizes(engine, at):
    with transaction(engine) as tx:
        return sorted(anchored.sizes(tx, at.digest))


# ---- folders --------------------------------------------------------------------------------------------------------


def test_each_checkpoint_becomes_a_file_that_anybody_may_read_and_nobody_may_write(engine, deployment, folder):
    for by in (2, 3):
        grow(engine, deployment, by)
        assert anchor(engine, read(folder.as_uri()), every=AT_ONCE) == 1

    (at,) = read(folder.as_uri())
    size, note = newest(engine)
    assert dict(at.place.notes())[str(size)] == note
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {
        "2": 0o444, "5": 0o444
    }
    assert sizes(engine, at) == [2, 5]


def test_what_was_anchored_is_not_anchored_again(engine, deployment, folder):
    grow(engine, deployment, 2)

    assert [anchor(engine, read(folder.as_uri()), every=AT_ONCE) for _ in range(3)] == [1, 0, 0]


def test_an_anchor_gets_no_second_checkpoint_before_its_time(engine, deployment, folder, sql):
    grow(engine, deployment, 2)
    anchor(engine, read(folder.as_uri()), every=timedelta(hours=1))
    grow(engine, deployment, 2)

    assert anchor(engine, read(folder.as_uri()), every=timedelta(hours=1)) == 0
    sql("ALTER TABLE ledger_anchored DISABLE TRIGGER ALL")
    sql("UPDATE ledger_anchored SET at = at - interval '1 hour'")
    assert anchor(engine, read(folder.as_uri()), every=timedelta(hours=1)) == 1


def test_an_empty_ledger_is_not_anchored(engine, folder):
    assert anchor(engine, read(folder.as_uri()), every=AT_ONCE) == 0
    assert not list(folder.iterdir())


def test_a_note_that_is_there_already_is_never_overwritten(engine, deployment, folder):
    grow(engine, deployment, 2)
    anchor(engine, read(folder.as_uri()), every=AT_ONCE)
    first = newest(engine)[1]
    rewrite(engine, deployment, lambda entries: [b"forged", *entries[1:]])
    with engine.begin() as owner:
        owner.exec_driver_sql("ALTER TABLE ledger_anchored DISABLE TRIGGER ALL")
        owner.exec_driver_sql("DELETE FROM ledger_anchored")

    with capture_logs() as logged:
        assert anchor(engine, read(folder.as_uri()), every=AT_ONCE) == 0

    (at,) = read(folder.as_uri())
    assert dict(at.place.notes()) == {"2": first}
    assert logged[0]["detail"] == "An anchor holds another checkpoint of 2 entries"


def test_a_folder_that_is_gone_is_not_made_and_keeps_nothing_from_the_other_anchor(engine, deployment, folder):
    grow(engine, deployment, 2)
    gone = folder / "unmounted-secret-name"
    both = read(gone.as_uri(), folder.as_uri())

    with capture_logs() as logged:
        assert anchor(engine, both, every=AT_ONCE) == 1

    assert not gone.exists()
    assert sizes(engine, both[0]) == []
    assert [(entry["event"], entry["anchor"]) for entry in logged] == [
        ("anchor.failed", f"file anchor {both[0].digest}")
    ]
    assert "secret" not in str(logged)

    gone.mkdir()
    assert anchor(engine, both, every=AT_ONCE) == 1


def test_one_process_anchors_at_a_time(engine, deployment, folder):
    grow(engine, deployment, 2)

    with ledger.alone(engine, ANCHOR):
        assert anchor(engine, read(folder.as_uri()), every=AT_ONCE) == 0


# ---- buckets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(bucket):
    bucket.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    return bucket


def test_an_object_is_locked_for_as_long_as_was_asked(engine, deployment, locked, s3):
    grow(engine, deployment, 2)
    before = datetime.now(UTC)

    assert anchor(engine, read("s3://locked/deep?retain_days=30", endpoint=s3), every=AT_ONCE) == 1

    kept = locked.get_object(Bucket="locked", Key="deep/checkpoints/2")
    assert kept["Body"].read().decode() == newest(engine)[1]
    assert kept["ObjectLockMode"] == "COMPLIANCE"
    asked = timedelta(days=30)
    assert before + asked - timedelta(seconds=1) <= kept["ObjectLockRetainUntilDate"] <= datetime.now(UTC) + asked
    with pytest.raises(ClientError, match="AccessDenied"):
        locked.delete_object(Bucket="locked", Key="deep/checkpoints/2", VersionId=kept["VersionId"])


def test_an_anchor_may_have_a_server_of_its_own(engine, deployment, locked, s3):
    grow(engine, deployment, 2)

    assert anchor(engine, read(f"s3://locked?endpoint={s3}", endpoint="http://127.0.0.1:1"), every=AT_ONCE) == 1

    assert locked.get_object(Bucket="locked", Key="checkpoints/2")["Body"].read().decode() == newest(engine)[1]


def test_without_days_an_object_is_written_once_and_not_locked(engine, deployment, locked, s3):
    locked.put_object(Bucket="blobs", Key="checkpoints/2", Body=b"somebody else's")
    grow(engine, deployment, 2)

    with capture_logs() as logged:
        assert anchor(engine, read("s3://blobs", endpoint=s3), every=AT_ONCE) == 0
    grow(engine, deployment, 1)
    assert anchor(engine, read("s3://blobs", endpoint=s3), every=AT_ONCE) == 1

    assert "another checkpoint of 2 entries" in logged[0]["detail"]
    assert locked.get_object(Bucket="blobs", Key="checkpoints/2")["Body"].read() == b"somebody else's"
    assert "ObjectLockMode" not in locked.head_object(Bucket="blobs", Key="checkpoints/3")


def test_a_bucket_that_does_not_exist_is_tried_again(engine, deployment, bucket, s3):
    grow(engine, deployment, 2)

    with capture_logs() as logged:
        assert anchor(engine, read("s3://nowhere", endpoint=s3), every=AT_ONCE) == 0
    bucket.create_bucket(Bucket="nowhere")

    assert logged[0]["error"] == "unavailable"
    assert anchor(engine, read("s3://nowhere", endpoint=s3), every=AT_ONCE) == 1


# ---- webhooks -------------------------------------------------------------------------------------------------------


@contextmanager
def keeper(status=204, location=None):
    """Somebody's server; what it was sent."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Type"], body.decode()))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_the_note_is_posted_as_plain_text(engine, deployment):
    grow(engine, deployment, 2)

    with keeper() as (url, received):
        assert anchor(engine, read(f"{url}/keep?token=secret"), every=AT_ONCE) == 1

    assert received == [("/keep?token=secret", "text/plain; charset=utf-8", newest(engine)[1])]


@pytest.mark.parametrize("status", [301, 307, 400, 500])
def test_any_answer_but_success_is_tried_again_and_no_redirect_is_followed(engine, deployment, status):
    grow(engine, deployment, 2)

    with keeper() as (elsewhere, never), keeper(status, elsewhere) as (url, received), capture_logs() as logged:
        at = read(f"{url}/keep?token=secret")
        assert [anchor(engine, at, every=AT_ONCE) for _ in range(2)] == [0, 0]

    assert len(received) == 2
    assert not never
    assert f"a webhook answered {status}" in logged[0]["detail"]
    assert "secret" not in str(logged)
    assert sizes(engine, at[0]) == []


def test_a_server_that_is_away_is_named_by_no_more_than_scheme_and_digest(engine, deployment):
    grow(engine, deployment, 2)
    with keeper() as (url, _):
        pass
    (at,) = read(f"{url}/keep?token=secret")

    with capture_logs() as logged:
        assert anchor(engine, [at], every=AT_ONCE) == 0

    assert logged[0]["anchor"] == f"http anchor {at.digest}"
    assert "secret" not in str(logged) + repr(at)
    assert "127.0.0.1" not in str(logged) + repr(at)


# ---- settings -------------------------------------------------------------------------------------------------------


def test_no_setting_is_no_anchor(engine):
    assert anchors.read(None) == ()
    assert read(" , ") == ()
    assert anchor(engine, (), every=AT_ONCE) == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://secret", "begins with"),
        ("secret", "begins with"),
        ("file://secret/folder", "absolute path"),
        ("file:///", "absolute path"),
        ("s3:///secret", "name a bucket"),
        ("s3://b?retain_days=0", "retain_days"),
        ("s3://b?retain_days=36501", "retain_days"),
        ("s3://b?retain_days=-1", "retain_days"),
        ("s3://b?retain_days=", "retain_days"),
        ("s3://b?retain_days=²", "retain_days"),
        ("s3://b?secret=1", "retain_days"),
        ("s3://b?endpoint=", "endpoint"),
        ("s3://b?endpoint=nonsense", "endpoint"),
        ("s3://b?profile=nobody-has-this", "profile"),
        ("s3://b?secret", "retain_days"),
        ("https:///secret", "name a host"),
        ("http://[secret", "no URL"),
        ("https://host:secret/", "no URL"),
    ],
)
def test_a_bad_setting_is_refused_by_its_number_and_not_repeated(tmp_path, url, why):
    with pytest.raises(BadInput) as refused:
        read(tmp_path.as_uri(), url)

    assert refused.value.detail.startswith("Anchor 2 of EXPUNGE_ANCHORS is not usable")
    assert why in refused.value.detail
    assert "secret" not in refused.value.detail


def test_an_anchor_that_is_named_twice_is_refused(tmp_path):
    with pytest.raises(BadInput, match="twice"):
        read(tmp_path.as_uri(), tmp_path.as_uri())


def test_two_anchors_have_two_digests_and_an_anchor_keeps_its_own(tmp_path):
    one, other = read("https://a.test/x", "https://a.test/y")

    assert one.digest != other.digest
    assert read("https://a.test/x")[0].digest == one.digest
    assert len(one.digest) == 16


