import hashlib
import io
import socket
from urllib.request import urlopen

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from service import storage
from service.errors import BadInput, Damaged, NotFound, Unavailable
from service.storage import open_store

NOWHERE = "sha256/ab/" + "ab" * 32


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture
def bucket(s3, credentials):
    with urlopen(f"{s3}/moto-api/reset", data=b""):     # noqa: S310  our own server
        pass
    client = boto3.client("s3", endpoint_url=s3)
    client.create_bucket(Bucket="blobs")
    yield client
    client.close()


@pytest.fixture(params=["file", "s3", "s3-prefix"])
def store(request, tmp_path):
    if request.param == "file":
        return open_store((tmp_path / "a store").as_uri())
    request.getfixturevalue("bucket")
    url = "s3://blobs/deep/down" if request.param == "s3-prefix" else "s3://blobs"
    return open_store(url, endpoint=request.getfixturevalue("s3"))


def key_by_hand(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256/{digest[:2]}/{digest}"


def test_a_file_is_stored_under_its_digest_and_comes_back_whole(store, tmp_path):
    content = b"expunge" * 500_000
    (tmp_path / "in").write_bytes(content)

    key = store.put(tmp_path / "in")
    store.fetch(key, tmp_path / "out")

    assert key == key_by_hand(content)
    assert (tmp_path / "out").read_bytes() == content


def test_what_is_streamed_is_what_was_put(store):
    content = bytes(range(256)) * 10_000

    chunks = list(store.open(store.put_bytes(content)))

    assert b"".join(chunks) == content
    assert len(chunks) > 1


def test_the_empty_blob_is_a_blob(store):
    key = store.put_bytes(b"")

    assert b"".join(store.open(key)) == b""


def test_storing_twice_changes_nothing(store):
    keys = {store.put_bytes(b"once"), store.put_bytes(b"once")}

    assert len(keys) == 1
    assert store.exists(keys.pop())


def test_a_deleted_blob_is_gone_and_deleting_it_again_is_harmless(store):
    key = store.put_bytes(b"weights of a model that has to go")

    store.delete(key)
    store.delete(key)

    assert not store.exists(key)


def test_a_missing_key_is_not_found_before_anything_is_read(store, tmp_path):
    with pytest.raises(NotFound):
        store.open(NOWHERE)
    with pytest.raises(NotFound):
        store.fetch(NOWHERE, tmp_path / "out")

    assert not (tmp_path / "out").exists()
    assert not store.exists(NOWHERE)


@pytest.mark.parametrize(
    "key",
    ["", "../etc/passwd", "sha256/ab/../../x", NOWHERE + "\n", NOWHERE.upper(), NOWHERE[:7] + "cd" + NOWHERE[9:]],
)
def test_a_key_that_is_no_digest_is_refused_by_every_verb(store, key, tmp_path):
    for verb in (store.open, store.exists, store.delete, lambda k: store.fetch(k, tmp_path / "out")):
        with pytest.raises(BadInput):
            verb(key)


@given(st.text(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_no_text_but_a_key_names_a_blob(tmp_path, text):
    store = open_store(tmp_path.as_uri())

    with pytest.raises(BadInput):
        store.exists(text)


def test_a_changed_file_is_noticed_and_never_appears(tmp_path):
    store = open_store(tmp_path.as_uri())
    key = store.put_bytes(b"what was signed")
    (tmp_path / key).chmod(0o600)
    (tmp_path / key).write_bytes(b"what is there now")

    with pytest.raises(Damaged):
        store.fetch(key, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_changed_object_is_noticed(bucket, s3):
    store = open_store("s3://blobs", endpoint=s3)
    key = store.put_bytes(b"what was signed")
    bucket.put_object(Bucket="blobs", Key=key, Body=b"what is there now")

    with pytest.raises(Damaged):
        list(store.open(key))


def test_a_write_that_comes_second_leaves_the_first(bucket, s3):
    store = storage.S3Store("blobs", endpoint=s3)
    key = key_by_hand(b"first")
    bucket.put_object(Bucket="blobs", Key=key, Body=b"first")

    store.write(key, io.BytesIO(b"second"))

    assert bucket.get_object(Bucket="blobs", Key=key)["Body"].read() == b"first"


def test_deleting_from_a_versioned_bucket_leaves_no_version(bucket, s3):
    bucket.put_bucket_versioning(Bucket="blobs", VersioningConfiguration={"Status": "Enabled"})
    store = open_store("s3://blobs", endpoint=s3)
    key = store.put_bytes(b"personal")
    bucket.delete_object(Bucket="blobs", Key=key)

    store.delete(key)

    left = bucket.list_object_versions(Bucket="blobs")
    assert "Versions" not in left
    assert "DeleteMarkers" not in left


def test_a_large_blob_goes_up_in_parts(bucket, s3, monkeypatch):
    monkeypatch.setattr(storage, "PART", 5 << 20)
    store = open_store("s3://blobs", endpoint=s3)
    content = bytes(range(256)) * 50_000

    key = store.put_bytes(content)

    assert b"".join(store.open(key)) == content
    assert bucket.head_object(Bucket="blobs", Key=key)["ETag"].endswith('-3"')
    assert "Uploads" not in bucket.list_multipart_uploads(Bucket="blobs")


def test_a_server_that_is_away_is_unavailable(credentials):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = open_store("s3://blobs", endpoint=f"http://127.0.0.1:{nobody.getsockname()[1]}")

        with pytest.raises(Unavailable):
            store.exists(NOWHERE)


def test_a_bucket_that_does_not_exist_is_unavailable_when_written(bucket, s3):
    store = open_store("s3://elsewhere", endpoint=s3)

    with pytest.raises(Unavailable):
        store.put_bytes(b"lost")


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "a file").write_bytes(b"")
    store = open_store((tmp_path / "a file").as_uri())

    with pytest.raises(Unavailable):
        store.put_bytes(b"lost")


def test_a_stored_file_is_for_nobody_else_and_leaves_no_draft(tmp_path):
    store = open_store(tmp_path.as_uri())

    key = store.put_bytes(b"personal")

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / key]
    assert files[0].stat().st_mode & 0o777 == 0o400


def test_another_kind_of_url_is_refused():
    with pytest.raises(BadInput):
        open_store("ftp://somewhere")
