"""Shared by all tests: real peers found or skipped aloud, and no network for unit tests.

A peer (a real program or package that a test drives) that is missing is a skip that says what to install; with `CI=true` it is a failure,
because CI installs every peer.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str, install: str) -> None:
    """Skip the test, or fail it in CI, because the peer `what` is not here; `install` says how to get it."""
    text = f"peer missing: {what} (install: {install})"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def program(name: str, package: str) -> str:
    """The path of the program `name`, which Debian's `package` brings; skips or fails the test without it."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        missing(name, f"apt-get install {package}")
    assert found is not None
    return found
