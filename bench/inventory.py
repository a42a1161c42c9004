"""`ansible-inventory --list` of a fleet: by the plugin of our collection with `octofleet inventory` behind it, and by a script that prints ready JSON.

In: nothing. Out: one row. ansible-core is needed; without it nothing is measured.
"""

import sys
from functools import partial
from pathlib import Path

from bench import fleets
from bench.measure import Cost, Machine, Row, together
from bench.results import Found, Options, told

NAME, TITLE = "inventory", "Ansible's inventory"
BEGINNINGS = ("ansible-inventory ",)
NOTE = """`ansible-inventory --list` of two sources, in each round both at the same time: the plugin `octofleet.fleet.octofleet`, which runs `octofleet
inventory` on the repository, with an index from before; and a shell script that prints what that had printed. Both make the same output, byte by byte, which
is checked. "CPU s" and MiB are those of `ansible-inventory` with all that it starts; the ratio is that of CPU seconds, of the medians."""
FINDINGS = """Of a script's output Ansible makes every text a value with its origin and its trust, through a visitor in Python, and sets variables one by one.
The plugin gives each distinct text its trust once, and gives a host all of its variables at once; what that saves is more than reading the fleet costs. Nine
tenths of what is left are Ansible's own: variables of each host once more, with their copies, and the output."""
HOSTS, ROUNDS, MOST = 10_000, 3, 1.0


def measure(machine: Machine, options: Options) -> Found:
    """The row of the subject."""
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.exists():
        reason = "Ansible's inventory: missing ansible-core (pip install 'octofleet[ansible]')"
        print(f"  skipped: {reason}")
        return Found(rows=(), skipped=[reason])
    quick = options.hosts == (1_000,)
    hosts = 1_000 if quick else HOSTS
    sources = _sources(machine, hosts)
    costs: dict[str, list[Cost]] = {name: [] for name in sources}
    for _ in range(1 if quick else ROUNDS):
        for name, cost in together({name: partial(_listed, machine, program, source) for name, source in sources.items()}).items():
            costs[name].append(cost)
    ours, theirs = (source.with_suffix(".out").read_bytes() for source in sources.values())
    return Found(rows=[told(_row(hosts, costs["plugin"], costs["script"], same=ours == theirs))])


def _listed(machine: Machine, program: Path, source: Path) -> Cost:
    return machine.cost([program, "-i", source, "--list", "--output", source.with_suffix(".out")], _environment(machine))


def _environment(machine: Machine) -> dict[str, str]:
    home = machine.directory / "ansible"
    return {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_COLLECTIONS_PATH": str(home / "collections"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }


def _sources(machine: Machine, hosts: int) -> dict[str, Path]:
    """The plugin's configuration, with the collection installed; and the script."""
    directory = machine.directory / f"inventory-{hosts}"
    repository, data, home = fleets.make(hosts, directory / "fleet.git"), directory / "data", machine.directory / "ansible"
    machine.python("-m", "reconciler.cli", "inventory", "--collection", directory, "--data-dir", data)
    (archive,) = directory.glob("*.tar.gz")
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    machine.cost([galaxy, "collection", "install", archive, "-p", home / "collections"], _environment(machine))
    ready = directory / "ready.json"
    text = 'out=$1; shift; exec "$@" >"$out"'
    command = [sys.executable, "-m", "reconciler.cli", "inventory", "--repo", repository, "--data-dir", data]
    machine.cost(["/bin/sh", "-c", text, "sh", ready, *command])
    script, configuration = directory / "script", directory / "bench.octofleet.yml"
    script.write_text(f"#!/bin/sh\nexec cat {ready}\n")
    script.chmod(0o700)
    configuration.write_text(
        f"plugin: octofleet.fleet.octofleet\nrepo: {repository}\ndata_dir: {data}\ncommand: [{sys.executable}, -m, reconciler.cli]\n"
    )
    return {"plugin": configuration, "script": script}


def _row(hosts: int, plugin: list[Cost], script: list[Cost], *, same: bool) -> Row:
    ours, theirs = (sorted(costs, key=lambda cost: cost.cpu_s)[len(costs) // 2] for costs in (plugin, script))
    ratio = ours.cpu_s / theirs.cpu_s
    return Row(
        name="ansible-inventory --list, our plugin",
        hosts=hosts,
        seconds=ours.seconds,
        cpu_s=ours.cpu_s,
        peak_mib=ours.peak_mib,
        floor=theirs.cpu_s,
        ratio=ratio,
        against=f"a script that prints ready JSON: {theirs.seconds:.1f} s, {theirs.peak_mib:.0f} MiB",
        bar=f"at most {MOST:g} times the CPU s, and the same output",
        met=ratio <= MOST and same,
    )
