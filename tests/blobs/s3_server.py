"""A real S3 server on loopback: moto in a process of its own."""

import importlib.util
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-the-test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of a server that ends with the block."""
    for name in ("boto3", "moto", "flask"):
        if importlib.util.find_spec(name) is None:
            missing(name, "pip install boto3 'moto[server]'")
    with (directory / "moto.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | CREDENTIALS,
        )
        try:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            _wait(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=10).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise AssertionError("moto does not answer")
