"""Real TFTP clients as peers: Debian's tftp-hpa, curl and busybox fetch whole files."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.boot.tftp_peers import serving
from tests.conftest import missing, program

FILES = {"boot/small.cfg": b"set default=0\r\n\n\r", "boot/snponly.efi": os.urandom(174_000), "boot/even.bin": os.urandom(512 * 20)}


def run(*command: str, cwd: Path, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("more", [(), ("--tftp-blksize", "1468"), ("--tftp-blksize", "65464"), ("--tftp-no-options",)], ids=str)
def test_curl_fetches(name: str, more: tuple[str, ...], tmp_path: Path) -> None:
    curl = program("curl", "curl")
    with serving(FILES) as found:
        ended = run(curl, "-sS", *more, f"tftp://127.0.0.1:{found.port}//{name}", "-o", "got", cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert (tmp_path / "got").read_bytes() == FILES[name]


def test_curl_is_told_what_is_missing_and_may_not_write(tmp_path: Path) -> None:
    curl = program("curl", "curl")
    (tmp_path / "mine").write_bytes(b"x" * 2000)
    with serving(FILES) as found:
        url = f"tftp://127.0.0.1:{found.port}/"
        assert run(curl, "-sS", url + "none", cwd=tmp_path).returncode == 68
        assert run(curl, "-sS", "-T", "mine", url + "mine", cwd=tmp_path).returncode == 69
        assert found.counters.refused == 2


@pytest.mark.parametrize("name", FILES)
def test_tftp_hpa_fetches(name: str, tmp_path: Path) -> None:
    tftp = program("tftp", "tftp-hpa")
    with serving(FILES) as found:
        ended = run(tftp, "-m", "binary", "127.0.0.1", str(found.port), "-c", "get", name, "got", cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert (tmp_path / "got").read_bytes() == FILES[name]
        refused = run(tftp, "-m", "ascii", "127.0.0.1", str(found.port), "-c", "get", name, "other", cwd=tmp_path)
        assert "only the mode octet" in refused.stdout + refused.stderr


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("block", ["512", "1468", "9000"])
def test_busybox_fetches(name: str, block: str, tmp_path: Path) -> None:
    busybox = program("busybox", "busybox-static")
    if "tftp" not in run(busybox, "--list", cwd=tmp_path).stdout.split():
        missing("busybox with tftp", "apt-get install busybox")
    with serving(FILES) as found:
        ended = run(busybox, "tftp", "-b", block, "-g", "-r", name, "-l", "got", "127.0.0.1", str(found.port), cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert (tmp_path / "got").read_bytes() == FILES[name]
