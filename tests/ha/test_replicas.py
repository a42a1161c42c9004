"""What keeps processes: nothing gets away, wherever it hides, and nothing outlives the one who asked for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.ha.kept import Late, until
from tests.ha.replicas import ROOT, Replica, answer
from tests.ha.topology import HERE, free_ports

# Starts a grandchild in a session of its own that its parent leaves, as daemons do, and notes everybody's id; then counts in a file.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("grandchild", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
while not (os.path.exists("grandchild") and os.path.getsize("grandchild")): time.sleep(0.01)
for number in range(10**9):
    open("next", "w").write(f"{os.getpid()} {number}")
    os.replace("next", "count")
    time.sleep(0.01)
"""

SERVER = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Replica]:
    with Replica([sys.executable, "-c", DAEMON], tmp_path / "daemon", {}) as replica:
        until(lambda: count(replica.data_dir)[1] > 0, "a daemon that counts", within_s=30)
        yield replica


def count(directory: Path) -> tuple[int, int]:
    """The daemon's process, and how far it has counted; zeros as long as it has not begun."""
    with suppress(OSError, ValueError):
        process, number = (directory / "count").read_text().split()
        return int(process), int(number)
    return 0, 0


def lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def everybody(directory: Path) -> list[int]:
    return [count(directory)[0], int((directory / "grandchild").read_text())]


def test_killed_with_all_that_it_left_behind(daemon: Replica) -> None:
    processes = everybody(daemon.data_dir)
    assert all(map(lives, processes))
    daemon.kill()
    assert not daemon.alive and not any(map(lives, processes))
    daemon.kill()


def test_paused_it_stands_still_and_can_be_killed(daemon: Replica) -> None:
    daemon.pause()
    (before, states) = (
        count(daemon.data_dir),
        [Path(f"/proc/{process}/stat").read_text().split()[2] for process in everybody(daemon.data_dir)],
    )
    assert states == ["T", "T"] and daemon.alive
    daemon.resume()
    until(lambda: count(daemon.data_dir)[1] > before[1], "a daemon that counts again", within_s=30)
    daemon.pause()
    daemon.kill()
    assert not any(map(lives, everybody(daemon.data_dir)))


def test_one_that_is_asked_to_end_leaves_nothing_either(daemon: Replica) -> None:
    processes = everybody(daemon.data_dir)
    assert daemon.terminate() == 128 + signal.SIGTERM
    assert not any(map(lives, processes))
    daemon.start()
    assert daemon.alive


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.ha.replicas import Replica\n"
        "Replica([sys.executable, '-c', sys.argv[1]], Path(sys.argv[2]), {}).start(); time.sleep(600)"
    )
    place = tmp_path / "daemon"
    starter = subprocess.Popen([sys.executable, "-c", program, DAEMON, str(place)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    until(lambda: count(place)[1] > 0, "a daemon that counts", within_s=30)
    processes = everybody(place)
    starter.kill()
    starter.wait()
    until(lambda: not any(map(lives, processes)), "the end of its processes", within_s=30)


def test_ready_is_what_answers_with_200(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Replica([sys.executable, "-c", SERVER, str(port)], tmp_path / "web", {"OCTOFLEET_X": "1"}) as web:
        web.wait_ready(f"http://{HERE}:{port}/")
        assert answer(f"http://{HERE}:{port}/nothing") == 404
        assert "GET / " in web.log.read_text()
        with pytest.raises(Late, match="web ready"):
            web.wait_ready(f"http://{HERE}:{port}/nothing", within_s=0.2)
    assert answer(f"http://{HERE}:{port}/") is None


def test_one_that_ends_is_never_ready(tmp_path: Path) -> None:
    with Replica([sys.executable, "-c", "import sys; sys.exit('no database')"], tmp_path / "broken", {}) as broken:
        began = time.monotonic()
        with pytest.raises(AssertionError, match="broken has ended") as raised:
            broken.wait_ready(f"http://{HERE}:1/", within_s=600)
        assert time.monotonic() - began < 300 and "no database" in "".join(raised.value.__notes__)


def test_the_environment_of_the_tests_is_not_that_of_the_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOFLEET_DATABASE_URL", "sqlite:////nowhere")
    program = "import os; print(sorted(name for name in os.environ if name.startswith('OCTOFLEET_')))"
    with Replica([sys.executable, "-c", program], tmp_path / "one", {"OCTOFLEET_GIT__TOKEN_ENV": "T"}) as one:
        until(lambda: not one.alive, "its end", within_s=30)
    assert one.log.read_text().strip() == "['OCTOFLEET_DATA_DIR', 'OCTOFLEET_GIT__TOKEN_ENV']"
