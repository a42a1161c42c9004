"""One run that bench/ansible.py compares, in a process of its own: `DIRECTORY local|ssh HOSTS TASKS WAY`, WAY being `plain` or a strategy.

It adopts what others leave behind (prctl(2), PR_SET_CHILD_SUBREAPER), so that the CPU time of isolated runs is counted too.
"""

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.cli.sshd import SshHosts
from reconciler.drivers.ansible.command import PROGRAM, environment, fixed_variables
from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.job import Job as Run
from reconciler.drivers.ansible.programs import needed
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.driver import Context, Step, Target, Work
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost, RoleUse
from reconciler.types.origin import Origin
from reconciler.types.outcome import Outcome, Status
from reconciler.types.values import SecretRef, SecretValue

SUBREAPER, FORKS, LIMIT_S = 36, 5, 3600.0


class Inputs:
    """Everything is there."""

    def content(self, path: str) -> str:
        """Its own name."""
        return path


def playbook(tasks: int) -> str:
    """Tasks that all change a file, and tell the difference."""
    texts = (
        f'    - name: File {number}\n      copy: {{dest: "{{{{ base }}}}/{number}", content: "{number} of {{{{ inventory_hostname }}}}\\n"}}\n'
        for number in range(tasks)
    )
    return "- hosts: all\n  gather_facts: false\n  tasks:\n" + "".join(texts)


def resolved(name: str, variables: Mapping[str, Any]) -> ResolvedHost:
    """A host with the one role."""
    role = RoleUse(name="web", tenant="", ansible={"playbook": "web/site.yml"})
    values = {"name": name, "fqdn": name, "labels": {}, "vars": {"ansible_python_interpreter": sys.executable, **variables}}
    return ResolvedHost(name=name, tenant="shop", values=values, roles=(role,), origin=Origin(path="hosts.yaml"))


def ours(hosts: list[ResolvedHost], settings: AnsibleSettings, directory: Path) -> None:
    """One apply by the driver."""

    def export(tree: str, into: Path) -> None:
        shutil.copytree(directory / tree, into)

    def secret(ref: SecretRef, tenant: str) -> SecretValue:
        raise KeyError(ref, tenant)

    scratch = directory / "scratch"
    scratch.mkdir(exist_ok=True)
    driver = AnsibleDriver(settings)
    resources = [found for found in driver.resources(FleetScope(fleet="f", hosts=hosts), Inputs()) if not isinstance(found, str)]
    work = tuple(Work(action=Action.RUN, target=Target(address=found.address, desired=found)) for found in resources)
    context = Context(deadline=time.monotonic() + LIMIT_S, scratch=scratch, secret=secret, export=export, content=lambda blob: b"")
    for outcome in driver.apply(Step(id="bench", work=work), context).values():
        if not isinstance(outcome, Outcome) or outcome.status is not Status.DONE:
            raise SystemExit(f"a run of ours did not do its work: {outcome}")


def plain(hosts: list[ResolvedHost], settings: AnsibleSettings, directory: Path) -> None:
    """The same by `ansible-playbook` itself, with its own output."""
    inventory = {"all": {"hosts": {host.name: host.values["vars"] for host in hosts}, "vars": fixed_variables(settings)}}
    (directory / "inventory.json").write_text(json.dumps(inventory))
    (directory / "ansible.cfg").write_text("")
    program, control = needed(PROGRAM), directory / "cp"
    job = Run(directory=directory, playbook="site.yml", inventory=inventory, check=False)
    command = [program, "--diff", "-i", str(directory / "inventory.json"), "web/site.yml"]
    ran = subprocess.run(
        command,
        cwd=directory,
        env=environment(job, settings, program, control),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    if ran.returncode:
        raise SystemExit(f"ansible-playbook ended with {ran.returncode}:\n{ran.stdout[-2000:]}{ran.stderr[-1000:]}")
    for socket in control.glob("*") if control.exists() else ():
        subprocess.run(
            ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "x"], capture_output=True, check=False, timeout=60
        )


@contextmanager
def fleet(directory: Path, connection: str, count: int) -> Iterator[tuple[list[ResolvedHost], AnsibleSettings]]:
    """Hosts that hold nothing yet, and how they are reached."""
    names = [f"h{number:03}" for number in range(count)]
    root = directory / "hosts"
    root.mkdir()
    if connection == "local":
        for name in names:
            (root / name).mkdir()
        yield (
            [resolved(name, {"ansible_connection": "local", "base": str(root / name)}) for name in names],
            AnsibleSettings(forks=FORKS, visible=(root,)),
        )
        return
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/local/sbin")
    with SshHosts(root, names, str(sshd)) as running:
        reached = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_user": running.user}
        yield (
            [resolved(name, {**reached, "ansible_port": host.port, "base": str(host.home)}) for name, host in running.hosts.items()],
            AnsibleSettings(forks=FORKS, private_key_file=running.private_key, known_hosts_file=running.known_hosts, user=running.user),
        )


def spent() -> float:
    """CPU seconds of this process and of all that have ended below it."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def main() -> None:
    """Print what it took, as JSON."""
    ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)
    directory, connection, hosts, tasks, way = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5]), sys.argv[5]
    (directory / "web").mkdir(parents=True)
    (directory / "web" / "site.yml").write_text(playbook(tasks))
    before = spent()
    with fleet(directory, connection, hosts) as (made, settings):
        began = time.perf_counter()
        if way == "plain":
            plain(made, settings, directory)
        else:
            ours(made, replace(settings, strategy=way), directory)
        seconds = time.perf_counter() - began
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": spent() - before, "peak_mib": peak_mib}))


if __name__ == "__main__":
    main()
