"""What a program took is its own and its children's; what would change a measurement is kept from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import Cost, Machine, middle
from tests.conftest import ROOT

MIB = 1 << 20
HOLD = "import time; held = bytearray({}); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.3)"


MEASURED = """
from pathlib import Path
from bench.measure import Machine
machine = Machine(directory=Path({directory!r}))
print(machine.python("-c", {alone!r}).peak_mib, machine.python("-c", {both!r}).peak_mib)
"""


def test_memory_of_children_is_added(tmp_path: Path) -> None:
    """Measured by a small process: a child's peak is at least what its parent holds when it makes it."""
    alone = HOLD.format(300 * MIB)
    both = f"import subprocess, sys; held = bytearray(b'x') * {150 * MIB}; subprocess.run([sys.executable, '-c', {alone!r}])"
    text = MEASURED.format(directory=str(tmp_path), alone=alone, both=both)
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, capture_output=True, text=True)
    one, two = map(float, done.stdout.split())
    assert 300 < one < 330
    assert one + 150 < two < one + 190


def test_cpu_and_wall_are_told_apart(tmp_path: Path) -> None:
    machine = Machine(directory=tmp_path)
    asleep = machine.python("-c", "import time; time.sleep(0.5)")
    assert asleep.seconds > 0.5 > asleep.cpu_s
    work = "import time\nwhile time.process_time() < 0.5: pass"
    below = machine.python("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])")
    assert below.cpu_s >= 0.5


def test_an_unexpected_end_says_what_the_program_said(tmp_path: Path) -> None:
    machine = Machine(directory=tmp_path)
    with pytest.raises(SystemExit, match=r"(?s)ended with 3.*no such fleet"):
        machine.python("-c", "import sys; sys.stderr.write('no such fleet'); sys.exit(3)", expected=(0, 2))
    assert machine.python("-c", "print('as wanted'); raise SystemExit(2)", expected=(2,)).out == "as wanted\n"


def test_settings_of_this_shell_do_not_reach_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OCTOFLEET_LOG", "TF_CLI_CONFIG_FILE", "PYTHONDONTWRITEBYTECODE"):
        monkeypatch.setenv(name, "1")
    found = Machine(directory=tmp_path).environment({"OCTOFLEET_DATA_DIR": "here"})
    assert {name for name in found if name.startswith(("OCTOFLEET_", "TF_", "PYTHONDONT"))} == {"OCTOFLEET_DATA_DIR"}
    assert found["PYTHONPYCACHEPREFIX"].startswith(str(tmp_path))


def test_the_median_run_stands_for_all_with_the_highest_peak() -> None:
    runs = [Cost(seconds=seconds, cpu_s=seconds, peak_mib=peak) for seconds, peak in ((3.0, 10.0), (1.0, 30.0), (2.0, 20.0))]
    assert middle(runs) == Cost(seconds=2.0, cpu_s=2.0, peak_mib=30.0)
