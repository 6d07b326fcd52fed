import hashlib
import io
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import storage
from service.errors import BadInput, Damaged, NotFound, Unavailable
from service.storage import open_store

NOWHERE = "sha256/ab/" + "ab" * 32


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


# ---- objects under names of their own --------------------------------------------------------------------------------


@pytest.fixture
def named(store):
    return store.named("log")


def test_a_named_object_is_written_once_and_replaced_only_on_purpose(named):
    named.put("tile/0/x001/234.p/7", b"first")
    named.put("tile/0/x001/234.p/7", b"second")
    named.put("checkpoint", b"old")
    named.replace("checkpoint", b"new")

    assert named.get("tile/0/x001/234.p/7") == b"first"
    assert named.get("checkpoint") == b"new"
    assert sorted(named.names()) == ["checkpoint", "tile/0/x001/234.p/7"]


def test_a_named_object_is_removed_and_those_that_begin_like_it_stay(named):
    for name in ("tile/0/000.p/1", "tile/0/000.p/10", "tile/0/000"):
        named.put(name, b"hashes")

    named.remove("tile/0/000.p/1")
    named.remove("tile/0/000.p/1")

    assert sorted(named.names()) == ["tile/0/000", "tile/0/000.p/10"]
    with pytest.raises(NotFound):
        named.get("tile/0/000.p/1")


def test_a_named_object_that_is_longer_than_it_can_be_is_damaged(named):
    named.put("checkpoint", b"x" * 65)

    assert named.get("checkpoint", limit=65) == b"x" * 65
    with pytest.raises(Damaged):
        named.get("checkpoint", limit=64)


@pytest.mark.parametrize("name", ["", "../key", "a/../b", "/a", "a/", "a//b", "A", "a b", ".hidden", "a/.p/1", "ü"])
def test_no_name_leads_out_of_its_folder(named, name):
    for verb in (named.get, named.has, named.remove, lambda n: named.put(n, b""), lambda n: named.replace(n, b"")):
        with pytest.raises(BadInput):
            verb(name)


def test_a_named_file_is_for_everybody_and_leaves_no_draft(tmp_path):
    named = open_store(tmp_path.as_uri()).named("log")

    named.put("tile/0/000", b"hashes")
    named.replace("checkpoint", b"note")

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {"000": 0o444, "checkpoint": 0o444}


def test_deleting_leaves_the_versions_of_objects_that_begin_like_it(bucket, s3):
    bucket.put_bucket_versioning(Bucket="blobs", VersioningConfiguration={"Status": "Enabled"})
    named = open_store("s3://blobs", endpoint=s3).named("log")
    for name in ("a", "ab"):
        named.put(name, b"")

    named.remove("a")

    assert [each["Key"] for each in bucket.list_object_versions(Bucket="blobs")["Versions"]] == ["log/ab"]
