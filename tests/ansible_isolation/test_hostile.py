"""A hostile playbook of one tenant: whatever it tries on this machine, it sees and changes nothing of another one's, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.drivers.ansible import run
from reconciler.types.outcome import Status
from tests.ansible_isolation.hostile import CANARY, Machine, environment, isolated_as, loot

SPY = '''
import glob, json, os, signal, socket
def program(targets, pid):
    """Everything that a program may try."""
    found = {"read": [], "written": [], "signalled": [], "processes": [], "sockets": [], "environ": []}
    for path in targets:
        for how in (path, f"/proc/1/root{path}", f"/proc/self/root/../..{path}", f"/proc/{pid}/root{path}", f"/proc/{pid}/cwd{path}"):
            try:
                found["read"].append((how, open(how).read()))
            except OSError:
                pass
        for how in (path, os.path.dirname(path) + "/planted"):
            try:
                open(how, "w").write("changed")
                found["written"].append(how)
            except OSError:
                pass
        try:
            os.makedirs(os.path.dirname(path)); os.symlink("/etc/passwd", path)
        except OSError:
            pass
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found["processes"].append(open(f"/proc/{entry}/cmdline").read())
                found["environ"].append(open(f"/proc/{entry}/environ").read())
            except OSError:
                pass
    for number in (pid, os.getppid() + 100000):
        try:
            os.kill(number, signal.SIGTERM)
            found["signalled"].append(number)
        except OSError:
            pass
    for pattern in ("/run/**", "/var/**", "/home/**", "/root/.ssh/*", "/dev/shm/*", "/tmp/*.sock", "/sys/*", "/srv/*", "/opt/*",
                    "/etc/shadow", "/etc/octofleet*"):
        found["sockets"] += [path for path in glob.glob(pattern, recursive=True) if path not in ("/var/", "/var/tmp", "/run/", "/home/")]
    return found
'''
FILTER = (
    SPY
    + """
class FilterModule:
    def filters(self):
        return {"spy": lambda told: json.dumps(program(told["targets"], told["pid"]))}
"""
)
LOOKUP = (
    SPY
    + """
from ansible.plugins.lookup import LookupBase
class LookupModule(LookupBase):
    def run(self, terms, variables=None, **options):
        return [json.dumps(program(variables["targets"], variables["pid"]))]
"""
)
MODULE = (
    f"#!{sys.executable}\n# WANT_JSON\n{SPY}"
    + """
import sys
arguments = json.load(open(sys.argv[1]))
print(json.dumps({"changed": False, "found": json.dumps(program(arguments["targets"], int(arguments["pid"])))}))
"""
)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(root=tmp_path)


def harmless(machine: Machine, base: Path) -> None:
    found = loot(base)
    assert found["read"] == [] and found["signalled"] == [] and machine.untouched()
    assert CANARY not in str(found)
    assert found["processes"], "it does see its own"
    assert not any("-m\0pytest" in line or "/pytest\0" in line for line in found["processes"])
    assert not any("SERVER_SECRET" in text for text in found["environ"])
    assert found["sockets"] == []


@pytest.mark.parametrize("way", ["filter", "lookup", "module", "delegated"])
def test_a_program_of_the_playbook_sees_and_changes_nothing_of_others(machine: Machine, way: str) -> None:
    machine.world.write("web/filter_plugins/spying.py", FILTER)
    machine.world.write("web/lookup_plugins/spying.py", LOOKUP)
    machine.world.write("web/library/spying.py", MODULE)
    shm = Path("/dev/shm") / f"octofleet-test-{os.getpid()}"
    shm.write_text(CANARY)
    content = {
        "filter": "{{ {'targets': targets, 'pid': pid} | spy }}",
        "lookup": "{{ lookup('spying') }}",
        "module": "{{ told.found }}",
        "delegated": "{{ told.found }}",
    }[way]
    spying = "- spying: {targets: '{{ targets }}', pid: '{{ pid }}'}\n  register: told\n"
    before = spying if way == "module" else f"{spying}  delegate_to: localhost\n" if way == "delegated" else ""
    try:
        with environment("SERVER_SECRET", CANARY):
            outcome, base = machine.hostile(f'{before}- copy: {{content: "{content}", dest: "{{{{ base }}}}/loot"}}')
    finally:
        shm.unlink()
    assert outcome.status is Status.DONE, outcome.error
    harmless(machine, base)


@pytest.mark.parametrize(
    "task",
    [
        "debug: {msg: \"{{ lookup('file', targets[0]) }}\"}",
        "debug: {msg: \"{{ lookup('pipe', 'cat ' ~ targets[0]) }}\"}",
        "debug: {msg: \"{{ lookup('template', targets[0]) }}\"}",
        "debug: {msg: \"{{ lookup('unvault', targets[0]) }}\"}",
        "include_tasks: '{{ targets[2] }}'",
        "include_vars: '{{ targets[3] }}'",
        "include_role: {name: '{{ canary_dirs[-1] }}'}",
        "slurp: {src: '{{ targets[0] }}'}",
        "fetch: {src: '{{ targets[0] }}', dest: '{{ base }}/fetched'}",
        "copy: {src: '{{ targets[0] }}', dest: '{{ base }}/copied'}",
        "command: cat {{ targets[7] }}",
        "shell: cat /proc/*/root{{ targets[0] }} /proc/*/environ | grep canary",
        "command: nsenter -t 1 -m cat {{ targets[0] }}",
        "command: unshare -Ur true",
        "command: mount -t tmpfs none /tmp",
        "shell: echo changed >> /usr/bin/octofleet-planted",
        "shell: echo changed >> {{ ansible_python_interpreter }}-planted",
        "shell: echo 1 > /proc/sys/kernel/sysrq",
    ],
    ids=lambda task: task.split(":")[0],
)
def test_ways_of_ansible_itself_fail(machine: Machine, task: str) -> None:
    outcome, base = machine.hostile(f"- {task}\n")
    assert outcome.status is not Status.DONE, task
    assert CANARY not in outcome.error + str(machine.world.logged)
    assert machine.untouched() and not any(CANARY in path.read_text() for path in base.rglob("*") if path.is_file())
    assert not Path(f"{sys.executable}-planted").exists() and not Path("/usr/bin/octofleet-planted").exists()


def test_links_of_a_project_lead_nowhere(machine: Machine) -> None:
    machine.world.tasks("- debug:")
    (machine.world.repository / "web" / "linked.yml").symlink_to(machine.targets[0])
    outcome, _ = machine.hostile("- debug: {msg: \"{{ lookup('file', playbook_dir ~ '/linked.yml') }}\"}\n")
    assert outcome.status is Status.FAILED and CANARY not in outcome.error


FORGED = """
import base64, json, os, uuid
class FilterModule:
    def filters(self):
        return {"forge": forge}
def tell(name):
    data = base64.b64encode(json.dumps({"uuid": name}).encode()).decode()
    end = base64.b64encode(b"{}").decode()
    with open(f"/proc/{os.getppid()}/fd/1", "wb", buffering=0) as out:  # a worker's own output goes nowhere
        out.write(f"\\x1b[K{data}\\x1b[{len(data)}D\\x1b[K forged \\x1b[K{end}\\x1b[{len(end)}D\\x1b[K\\n".encode())
def forge(target):
    events = os.path.join(os.environ["AWX_ISOLATED_DATA_DIR"], "job_events")
    linked, fifo, huge = (str(uuid.uuid4()) for _ in range(3))
    os.symlink(target, f"{events}/{linked}-partial.json")
    os.mkfifo(f"{events}/{fifo}-partial.json")
    with open(f"{events}/{huge}-partial.json", "wb") as file:
        file.truncate(1 << 30)
    for name in (linked, fifo, huge, "../../../../../../../etc/passwd", "x" * 5000, linked):
        tell(name)
    return "forged"
"""


def test_forged_events_read_and_remove_nothing(machine: Machine) -> None:
    """The server reads the files that events name: neither a link nor a path nor a pipe leads it astray, and a huge one is not taken."""
    aim = machine.root / "data" / "told-partial.json"
    aim.write_text(json.dumps({"event": "error", "stdout": CANARY}))
    machine.world.write("web/filter_plugins/forging.py", FORGED)
    outcome, base = machine.hostile(f'- copy: {{content: "{{{{ \'{aim}\' | forge }}}}", dest: "{{{{ base }}}}/done"}}')
    assert (base / "done").read_text() == "forged" and outcome.status is Status.DONE, outcome.error
    assert aim.exists() and CANARY not in str(machine.world.logged)


def test_a_daemon_ends_with_its_run(machine: Machine) -> None:
    tasks = """
- shell: setsid nohup sleep 98765 >/dev/null 2>&1 </dev/null & setsid sh -c 'trap "" TERM HUP INT; exec -a innocent sleep 98765' >/dev/null 2>&1 &
- command: pgrep -f 98765
"""
    outcome, _ = machine.hostile(tasks)
    assert outcome.status is Status.DONE, outcome.error
    assert b"98765" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout


def test_abstract_sockets_and_loopback_stay_and_nothing_by_path(machine: Machine) -> None:
    """The network is not taken away: this is what docs/ansible.md says of it."""
    with socket.socket(socket.AF_UNIX) as path, socket.socket() as port:
        path.bind(str(machine.root / "data" / "s"))
        path.listen()
        port.bind(("127.0.0.1", 0))
        port.listen()
        number = port.getsockname()[1]
        script = "import socket,sys; socket.create_connection(('127.0.0.1', {{ number }})); s = socket.socket(socket.AF_UNIX)\n"
        machine.world.write(
            "web/try.py", script + f"try: s.connect({str(machine.root / 'data' / 's')!r})\nexcept OSError: sys.exit(0)\nsys.exit(1)\n"
        )
        tasks = "- template: {src: '{{ playbook_dir }}/try.py', dest: '{{ base }}/try.py'}\n- command: '{{ ansible_python_interpreter }} {{ base }}/try.py'"
        outcome, _ = machine.hostile(tasks, number=number)
    assert outcome.status is Status.DONE, outcome.error


def test_a_run_that_fills_the_disk_or_tells_without_end_is_stopped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SPACE_BYTES", 8 << 20)
    monkeypatch.setattr(run, "LOOKS", 1)
    outcome, _ = machine.hostile('- shell: "dd if=/dev/zero of=$ANSIBLE_LOCAL_TEMP/big bs=1M count=64; sleep 120"')
    assert outcome.status is Status.FAILED and "wrote more" in outcome.error
    machine.world.write(
        "web/filter_plugins/endless.py",
        "import os\nclass FilterModule:\n    def filters(self): return {'endless': endless}\n"
        "def endless(told):\n    out = os.open(f'/proc/{os.getppid()}/fd/1', os.O_WRONLY)\n    while True: os.write(out, b'x' * 65536)\n",
    )
    outcome, _ = machine.hostile("- debug: {msg: \"{{ 'x' | endless }}\"}")
    assert outcome.status is Status.FAILED


def test_what_a_run_may_write_is_bounded_memory(machine: Machine) -> None:
    machine.hostile("- shell: df -B1 --output=target,size /tmp /var/tmp /dev/shm $HOME > {{ base }}/df; touch /x /dev/x /etc/x; true")
    lines = (machine.world.base("a") / "df").read_text().splitlines()[1:]
    assert all(int(line.split()[1]) == 256 << 20 for line in lines) and len(lines) == 4


def test_the_run_ends_with_the_server(machine: Machine) -> None:
    """Killed as hard as can be, the server leaves no run behind."""
    machine.world.tasks("- command: sleep 87654")
    machine.world.host("a")
    child = os.fork()
    if child == 0:
        machine.world.apply()
        os._exit(0)
    asleep = lambda: b"sleep 87654" in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout  # noqa: E731
    try:
        wait_for(asleep)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    wait_for(lambda: not asleep())


def wait_for(what: Callable[[], bool], limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)


def test_without_isolation_the_same_playbook_would_find_it(machine: Machine) -> None:
    """The tests above can fail: this is what they look for."""
    machine.world.write("web/filter_plugins/spying.py", FILTER)
    isolated_as(machine.world, "off")
    _, base = machine.hostile("- copy: {content: \"{{ {'targets': targets, 'pid': 999999999} | spy }}\", dest: '{{ base }}/loot'}")
    assert CANARY in str(loot(base)["read"]) and not machine.untouched()
