"""Initial ram disks: what is packed is what is there, for us and for cpio."""

import gzip
import subprocess
from pathlib import Path

from reconciler.boot.cpio import archive, members
from tests.conftest import program

FILES = {"init": b"#!/bin/sh\n", "etc/ssl/certs/ca.crt": b"pem", "empty": b""}


def test_what_is_packed_is_read_again() -> None:
    found = dict(members(gzip.compress(archive(FILES, programs=("init",), folders=("dev",)))))
    assert {name: found[name] for name in FILES} == FILES
    assert set(found) == {*FILES, "dev", "etc", "etc/ssl", "etc/ssl/certs"}


def test_cpio_unpacks_it(tmp_path: Path) -> None:
    program("cpio", "cpio")
    subprocess.run(["cpio", "-id", "--quiet"], input=archive(FILES, programs=("init",), folders=("dev",)), cwd=tmp_path, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
    assert (tmp_path / "dev").is_dir()
    assert (tmp_path / "init").stat().st_mode & 0o111
    assert not (tmp_path / "empty").stat().st_mode & 0o111
