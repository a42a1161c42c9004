"""How much a run does at once: Ansible's strategy, of which those of Mitogen are a package of their own, and its forks.

Mitogen keeps one Python on each host for a whole run in place of a new one for each task. It is a program that Ansible loads, never imported
here. It follows Ansible's insides closely: a version that it is not known to work with is refused.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from reconciler.errors import Permanent

PREFIX = "mitogen_"
ANSIBLE = ((2, 17), (2, 21))
"""The first and the last ansible-core that Mitogen is taken with."""
FORK_BYTES = 32 << 20
PER_CORE = 10
MOST = 200
"""A fork is a worker of Ansible, with 11 MiB of its own when measured, and its ssh; the rest is for what a task reads. It mostly waits for its host."""


def strategy_plugins(strategy: str) -> Path | None:
    """Where the strategy's plugins are, None for Ansible's own. Raises Permanent where Mitogen cannot be used."""
    if not strategy.startswith(PREFIX):
        return None
    found = find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        message = f"the strategy {strategy} needs Mitogen, which is not installed"
        raise Permanent(message, hint="pip install 'octofleet[mitogen]'", code="mitogen-missing")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to import, and only for Mitogen

    try:
        told = version("ansible-core")
    except PackageNotFoundError:
        told = "of another Python"
    number = tuple(map(int, re.findall(r"\d+", told)[:2]))
    if not ANSIBLE[0] <= number <= ANSIBLE[1]:
        first, last = (".".join(map(str, bound)) for bound in ANSIBLE)
        message = f"the strategy {strategy} is for ansible-core {first} to {last} in the same Python as Octofleet, and here is that {told}"
        raise Permanent(message, hint="pip install 'octofleet[mitogen]', or choose another strategy", code="mitogen-unsupported")
    return Path(found.submodule_search_locations[0]) / "plugins" / "strategy"


def forks(wanted: int, hosts: int) -> int:
    """How many hosts a run works on at once: as wanted, or as many as cores and free memory allow; never more than there are."""
    room = wanted or min(PER_CORE * len(os.sched_getaffinity(0)), _free_bytes() // 2 // FORK_BYTES, MOST)
    return max(1, min(room, hosts))


def _free_bytes() -> int:
    """Memory that may be taken (proc_meminfo(5)), in a container no more than it has left (cgroup v2)."""
    free = _numbers(Path("/proc/meminfo"))["MemAvailable"] * 1024
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(free, 0)


def _numbers(path: Path) -> Mapping[str, int]:
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in path.read_text().splitlines())}
