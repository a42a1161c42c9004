"""One contract for every blob store: a directory, the database, and S3 on a real server."""

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.blobs.blob_store import BlobStore
from reconciler.blobs.directory import LEFT_S, DirectoryBlobs
from reconciler.blobs.s3 import S3Blobs
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.settings import Blobs, Settings
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import Store
from reconciler.wiring import Installation, open_installation
from tests.blobs.s3_server import CREDENTIALS, server
from tests.store.databases import KINDS, database

EVERY = bytes(range(256))
LATER = 4_000_000_000.25


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The URL of a server, and a client that makes buckets there."""
    with pytest.MonkeyPatch.context() as patch, server(tmp_path_factory.mktemp("s3")) as url:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        yield url


def bucket(url: str, name: str) -> S3Blobs:
    made = S3Blobs(bucket=name, prefix="octofleet/", endpoint=url)
    made._client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": CREDENTIALS["AWS_DEFAULT_REGION"]})
    return made


@pytest.fixture(params=["directory", "s3", *KINDS])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "directory":
        yield DirectoryBlobs(directory=tmp_path / "blobs")
    elif request.param == "s3":
        yield bucket(request.getfixturevalue("s3"), f"b{time.monotonic_ns()}")
    else:
        with database(request.param, tmp_path) as url:
            store = Store(url)
            yield DatabaseBlobs(store=store)
            store.close()


@pytest.mark.parametrize("body", [b"", b"\n", EVERY, EVERY * 4096], ids=["empty", "line", "every byte", "a megabyte"])
def test_what_is_put_is_got(blobs: BlobStore, body: bytes) -> None:
    assert blobs.get("runs/one.log.gz") is None
    blobs.put("runs/one.log.gz", body)
    assert blobs.get("runs/one.log.gz") == body and blobs.until("runs/one.log.gz") is None


def test_the_newest_body_counts(blobs: BlobStore) -> None:
    blobs.put("a", b"one" * 1000)
    blobs.put("a", b"two", expires_at=LATER)
    assert (blobs.get("a"), blobs.until("a")) == (b"two", LATER)
    blobs.put("a", b"three")
    assert (blobs.get("a"), blobs.until("a"), list(blobs.names()), list(blobs.expired())) == (b"three", None, ["a"], [])


def test_deleting_is_repeatable(blobs: BlobStore) -> None:
    blobs.put("a", b"x", expires_at=LATER)
    blobs.put("a/b", b"y")
    for _ in range(2):
        blobs.delete("a")
        assert blobs.get("a") is None and blobs.get("a/b") == b"y" and list(blobs.names()) == ["a/b"]


def test_names_are_found_by_prefix_in_order(blobs: BlobStore) -> None:
    assert list(blobs.names()) == []
    made = ["plans/1", "runs/10.log", "runs/9.log", "runs/A", "runs/a_b-c.d", "runsx", "r", "runs"]
    for name in made:
        blobs.put(name, b"")
    assert list(blobs.names()) == sorted(made)
    assert list(blobs.names("runs/")) == ["runs/10.log", "runs/9.log", "runs/A", "runs/a_b-c.d"]
    assert list(blobs.names("runs/9.log")) == ["runs/9.log"] and list(blobs.names("s")) == []


def test_what_has_expired_is_gone_and_can_be_deleted(blobs: BlobStore) -> None:
    now = time.time()
    blobs.put("kept", b"k")
    blobs.put("later", b"l", expires_at=LATER)
    for number in range(3):
        blobs.put(f"gone/{number}", b"g", expires_at=now - number)
    assert [blobs.get(name) for name in ("kept", "later", "gone/0", "gone/2")] == [b"k", b"l", None, None]
    assert list(blobs.names()) == ["kept", "later"]
    assert sorted(blobs.expired()) == ["gone/0", "gone/1", "gone/2"]
    for name in list(blobs.expired()):
        blobs.delete(name)
    assert list(blobs.expired()) == [] and list(blobs.names()) == ["kept", "later"]


def test_what_is_put_again_expires_anew(blobs: BlobStore) -> None:
    blobs.put("a", b"old", expires_at=time.time() - 10)
    blobs.put("a", b"new", expires_at=LATER)
    blobs.put("b", b"old", expires_at=time.time() - 10)
    blobs.put("b", b"new")
    assert list(blobs.expired()) == [] and [blobs.get("a"), blobs.get("b")] == [b"new", b"new"]
    assert list(blobs.names()) == ["a", "b"]


BAD = ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\n", "ä", "a~b", "a\0b", "a" * 201, "-a"]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_a_bad_name_is_refused(blobs: BlobStore, name: str) -> None:
    for call in (lambda: blobs.put(name, b""), lambda: blobs.get(name), lambda: blobs.delete(name), lambda: blobs.until(name)):
        with pytest.raises(Permanent) as caught:
            call()
        assert caught.value.code == "blob-name"


def test_many_write_at_once_and_readers_see_whole_bodies(blobs: BlobStore) -> None:
    bodies = {bytes([n]) * 50_000 for n in range(4)}
    seen: set[bytes | None] = set()

    def write(body: bytes) -> None:
        for _ in range(5):
            blobs.put("shared", body)
            seen.add(blobs.get("shared"))

    threads = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= bodies and blobs.get("shared") in bodies


def test_files_are_private(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(directory=tmp_path / "blobs")
    blobs.put("runs/a", b"x")
    (file,) = blobs.directory.iterdir()
    assert stat.S_IMODE(blobs.directory.stat().st_mode) == 0o700 and stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_a_dead_process_left_is_no_blob_and_goes(tmp_path: Path) -> None:
    import os

    blobs = DirectoryBlobs(directory=tmp_path)
    for name, age in {".octofleet-old": LEFT_S + 60, ".octofleet-new": 0.0}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert list(blobs.names()) == [] and list(blobs.expired()) == []
    assert [path.name for path in tmp_path.iterdir()] == [".octofleet-new"]


@pytest.mark.parametrize(
    "body", [b"", b"whatever", b"octofleet-blob never", b"octofleet-blob soon\nx", b"octofleet-blob " + b"1" * 100 + b"\n"]
)
def test_a_file_of_somebody_else_is_told(tmp_path: Path, body: bytes) -> None:
    blobs = DirectoryBlobs(directory=tmp_path)
    (tmp_path / "a").write_bytes(body)
    with pytest.raises(Permanent, match="not written by Octofleet"):
        blobs.get("a")
    blobs.put("a", b"mended")
    assert blobs.get("a") == b"mended"


def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blobs = DirectoryBlobs(directory=tmp_path / "file")
    for call in (lambda: blobs.put("a", b""), lambda: blobs.get("a"), lambda: list(blobs.names())):
        with pytest.raises(OctofleetError) as caught:
            call()
        assert caught.value.hint


def test_a_bucket_that_is_not_there_and_a_server_that_is_not(s3: str) -> None:
    with pytest.raises(Permanent, match="NoSuchBucket") as caught:
        S3Blobs(bucket="nowhere", endpoint=s3).put("a", b"")
    assert "blobs.bucket" in caught.value.hint
    with pytest.raises(RetryLater) as closed:
        S3Blobs(bucket="b", endpoint="http://127.0.0.1:1", region="r").get("a")
    with pytest.raises(Permanent) as wrong:
        S3Blobs(bucket="b", endpoint="nonsense", region="r").get("a")
    assert all(CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(error.value) for error in (caught, closed, wrong))


def test_two_prefixes_of_a_bucket_are_two_stores(s3: str) -> None:
    one = bucket(s3, "shared")
    other = S3Blobs(bucket="shared", prefix="octofleet/blobs/", endpoint=s3)
    one.put("a", b"1", expires_at=1.0)
    other.put("b", b"2")
    assert list(other.names()) == ["b"] and list(other.expired()) == [] and list(one.expired()) == ["a"]


def test_a_marker_without_its_blob_goes(s3: str) -> None:
    blobs = bucket(s3, "markers")
    blobs.put("a", b"", expires_at=1.5)
    blobs._client.delete_object(Bucket="markers", Key="octofleet/blobs/a")
    assert list(blobs.expired()) == []
    assert blobs._client.list_objects_v2(Bucket="markers")["KeyCount"] == 0


@pytest.mark.parametrize(
    ("said", "url", "kind"),
    [
        (Blobs(), "", DirectoryBlobs),
        (Blobs(), "postgresql://db.example.net/octofleet", DatabaseBlobs),
        (Blobs(store="database"), "", DatabaseBlobs),
        (Blobs(store="directory"), "postgresql://db.example.net/octofleet", DirectoryBlobs),
        (Blobs(store="s3", bucket="b"), "", S3Blobs),
    ],
)
def test_the_settings_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Blobs, url: str, kind: type) -> None:
    made = Installation(data_dir=tmp_path, settings=Settings(blobs=said, database_url=url))
    made.__dict__["store"] = object()  # it is not opened to choose
    assert isinstance(made.blobs, kind)


@pytest.mark.parametrize("text", ["store = 's3'", "store = 'disk'", "directory = 'blobs'"])
def test_settings_that_cannot_be_used_are_told_at_once(tmp_path: Path, text: str) -> None:
    (tmp_path / "octofleet.toml").write_text(f"[blobs]\n{text}\n")
    with pytest.raises(OctofleetError) as caught:
        open_installation(tmp_path)
    assert caught.value.code == "settings" and caught.value.hint


def test_boto3_is_imported_only_when_used() -> None:
    import subprocess
    import sys

    program = "import sys, reconciler.wiring; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"boto3", "botocore"} & set(done.stdout.split())
