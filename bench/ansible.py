"""Ansible: CPU seconds of our driver's runs, beside plain `ansible-playbook` on the same work in the same rounds.

In: nothing. Out: rows. ansible-core, ansible-runner and, for its rows, Mitogen are needed; sshd (Debian's openssh-server) for the rows over ssh.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from bench.measure import Machine, Row, together
from bench.results import Found, Options, told

NAME, TITLE = "ansible", "Ansible"
BEGINNINGS = ("Ansible, ",)
NOTE = """A playbook of `copy` tasks that all change something, run by our driver (`AnsibleDriver.apply`, in isolation where bubblewrap works) and by plain
`ansible-playbook` with the same forks, pipelining and `--diff`. In each round all ways run at the same time, so that whatever else slows the machine meets
each of them; the row is the round with the median ratio. "Hosts" are hosts times tasks, "CPU s" all CPU seconds of ours: the driver's process, Ansible, and
the modules on the hosts, which are directories of this machine or sshd on loopback. The ratio is to those of plain Ansible in that round."""
FINDINGS = """Ansible itself is nearly all of it: a worker for each host and task, and a new Python on the host for each module. Begun at the same time as plain
Ansible, ours took 1.01 to 1.06 times its CPU seconds, isolated or not: bubblewrap costs nothing for each task, ansible-runner's callback and what we read of it
some hundredths, the play at the end and the sandbox 0.1 to 0.2 s for each run. One after the other on a busy machine the same work differed by 1.15 to 1.19
with 12 to 30 hosts times tasks: the CPU seconds of a task double when the cores are shared, so that such a ratio tells what else ran meanwhile. Mitogen keeps
one Python on each host for the whole run."""
BARS = {"linear": 1.1, "mitogen_linear": 0.4}
Spent: TypeAlias = Mapping[str, Mapping[str, float]]
"""Of one round: what each way took."""
SSHD_PATHS = "/usr/sbin:/sbin:/usr/local/sbin"


class Case(NamedTuple):
    """Work: over which connection, on how many hosts, how many tasks each, in how many rounds."""

    connection: str
    hosts: int
    tasks: int
    rounds: int


CASES = (Case("local", 50, 2, 3), Case("ssh", 10, 5, 3))
QUICK = (Case("local", 10, 2, 1),)


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    if importlib.util.find_spec("ansible_runner") is None or importlib.util.find_spec("ansible") is None:
        return Found(rows=(), skipped=[_skipped("missing ansible-core and ansible-runner (pip install 'octofleet[ansible]')")])
    strategies, skipped = dict(BARS), []
    if importlib.util.find_spec("ansible_mitogen") is None:
        del strategies["mitogen_linear"]
        skipped.append(_skipped("Mitogen (pip install 'octofleet[mitogen]')"))
    rows = []
    for case in QUICK if options.hosts == (1_000,) else CASES:
        sshd = shutil.which("sshd", path=SSHD_PATHS)
        if case.connection == "ssh" and sshd is None:
            skipped.append(_skipped("sshd (apt-get install openssh-server)"))
            continue
        ways = {way: partial(_spent, machine, case, way) for way in ("plain", *strategies)}
        rounds = [together(ways) for _ in range(case.rounds)]
        rows += [told(_row(case, strategy, bar, rounds)) for strategy, bar in strategies.items()]
    return Found(rows=rows, skipped=skipped)


def _skipped(reason: str) -> str:
    print(f"  skipped: Ansible: {reason}")
    return reason


def _spent(machine: Machine, case: Case, way: str) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory(prefix=f"{way}-", dir=machine.directory) as directory:
        command = ["-m", "bench.ansibled", directory, case.connection, case.hosts, case.tasks, way]
        found: Mapping[str, float] = json.loads(machine.python(*map(str, command)).out)
        return found


def _row(case: Case, strategy: str, bar: float, rounds: Sequence[Spent]) -> Row:
    both = sorted(((found[strategy], found["plain"]) for found in rounds), key=lambda pair: pair[0]["cpu_s"] / pair[1]["cpu_s"])
    (ours, plain), work = both[len(both) // 2], case.hosts * case.tasks
    ratio = ours["cpu_s"] / plain["cpu_s"]
    each = f"{ours['cpu_s'] / work:.2f} CPU s a host and task, plain {plain['cpu_s'] / work:.2f}; {plain['seconds']:.1f} s"
    return Row(
        name=f"Ansible, {case.connection}, {case.hosts} hosts, {case.tasks} tasks, {strategy}",
        hosts=work,
        seconds=ours["seconds"],
        cpu_s=ours["cpu_s"],
        peak_mib=ours["peak_mib"],
        floor=plain["cpu_s"],
        ratio=ratio,
        against=f"ansible-playbook; {each}",
        bar=f"at most {bar:g} times its CPU seconds",
        met=ratio <= bar,
    )
