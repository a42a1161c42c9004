"""Ansible: CPU seconds of our driver's runs, beside plain `ansible-playbook` on the same work in the same rounds.

In: nothing. Out: rows. ansible-core, ansible-runner and, for its rows, Mitogen are needed; sshd (Debian's openssh-server) for the rows over ssh.
"""

import importlib.util
import json
import shutil
from collections.abc import Mapping
from typing import NamedTuple

from bench.measure import Machine, Row
from bench.results import Found, Options, told

NAME, TITLE = "ansible", "Ansible"
BEGINNINGS = ("Ansible, ",)
NOTE = """A playbook of `copy` tasks that all change something, run by our driver (`AnsibleDriver.apply`, in isolation where bubblewrap works) and by plain
`ansible-playbook` with the same forks, pipelining and `--diff`, in turns, in rounds. "Hosts" are hosts times tasks, "CPU s" all CPU seconds of ours: this
process, Ansible, and the modules on the hosts, which are directories of this machine or sshd on loopback. The ratio is to those of plain Ansible."""
FINDINGS = """Ansible itself is nearly all of it: a worker for each host and task, and a new Python on the host for each module. What ansible-runner's callback
writes for each event and what we read of it is some hundredths of that. Mitogen keeps one Python on each host for the whole run."""
BARS = {"linear": 1.1, "mitogen_linear": 0.4}
SSHD_PATHS = "/usr/sbin:/sbin:/usr/local/sbin"


class Case(NamedTuple):
    """Work: over which connection, on how many hosts, how many tasks each, in how many rounds."""

    name: str
    connection: str
    hosts: int
    tasks: int
    rounds: int


CASES = (Case("local", "local", 50, 2, 2), Case("ssh", "ssh", 10, 10, 2))
QUICK = (Case("local", "local", 10, 2, 1),)


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
        ways = ["plain", *strategies]
        command = ["-m", "bench.ansibled", str(machine.directory), case.connection, case.hosts, case.tasks, case.rounds, *ways]
        found = json.loads(machine.python(*map(str, command)).out)
        rows += [told(_row(case, strategy, bar, found)) for strategy, bar in strategies.items()]
    return Found(rows=rows, skipped=skipped)


def _skipped(reason: str) -> str:
    print(f"  skipped: Ansible: {reason}")
    return reason


def _row(case: Case, strategy: str, bar: float, found: Mapping[str, Mapping[str, float]]) -> Row:
    ours, plain, work = found[strategy], found["plain"], case.hosts * case.tasks * case.rounds
    ratio = ours["cpu_s"] / plain["cpu_s"]
    each = f"{ours['cpu_s'] / work:.2f} CPU s a host and task, plain {plain['cpu_s'] / work:.2f}; {plain['seconds']:.1f} s"
    return Row(
        name=f"Ansible, {case.name}, {case.hosts} hosts, {case.tasks} tasks, {strategy}",
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
