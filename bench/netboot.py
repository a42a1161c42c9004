"""Machines that boot from the network: scripts and answer files a second beside a bare handler, and a fleet that is switched on at once.

In: nothing. Out: rows, on SQLite. TFTP has rows of its own (`bench.tftp`).
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import fleets
from bench.measure import Machine, Row, peak_mib
from bench.results import Found, Options, told

NAME, TITLE = "netboot", "Machines that boot from the network"
BEGINNINGS = ("netboot, ",)
NOTE = """Scripts and answer files: each request is another armed host's, over 200 connections that stay. *First*: whose it is is durable before it is
answered (a claim, the first answer file); *again*: nothing is written. Files were rendered when their hosts were armed, which is not in these rows.
The floor is a bare aiohttp handler in a process of its own, which renders the same file of the same host from values in memory for each request, and asks
nothing about who wants it. For orientation: Cobbler published 148 to 249 kickstarts a second.

*Power-on*: all machines of a fleet are armed by one run and come at once, as many at a time as the row says, each from an address of its own: script,
kernel (64 KiB), answer file, and the callbacks booted and installed. "Seconds" are until the last callback, CPU seconds those of the server until then;
the floor is the CPU of the client. *The picture* is what a serving process knows of machines in memory; MiB are what it adds, and its floor reads the same
rows and does nothing with them. DHCP and TFTP are not in these rows. Server and clients share the cores; on SQLite."""
FINDINGS = """A script took 1.6 CPU ms and an answer file 3.4 when they were measured first, the bare handler 0.34 and 1.8. Half of rendering a preseed was
a look at the category of each character, which text that is printable needs not (that made the floor faster too: 1.0). Each note that was durable woke the
event loop on its own, with a system call that gives the interpreter away; it is woken once for all of a transaction. Two threads rendered and took the
interpreter from each other; our own renderers take turns now. What is left of a first fetch was mostly rendering (0.25 and 0.9 CPU ms) and reading the
record (0.1), so both are done when a host is armed, while there is room for what is kept (32 MiB, some 4,000 hosts with a preseed each; files that hold a
secret are rendered when they are asked for, as ever): 1.6 CPU ms a host then. A first script is now aiohttp and the bounds of a connection (0.13), two
lines of the log (0.07 to 0.1), and the claim (0.09 with its transaction and the look at what has changed).

Power-on: one interpreter's lock limits it. Of 2.5 CPU ms a machine (2,000 machines) the event loop has seven tenths: half of that are handlers (log lines a
sixth), and half accepting and closing two connections, timers, and the kernel file. The thread that writes notes has an eighth, the run's worker the rest.
Each machine that was installed had all waiting steps of its run asked about again, a hundred of them; now its own step is, once its last machine has ended
(81 CPU s before for 10,000 machines, 68 after). Of 10,000 machines some 6,000 find no file that was rendered before, and cost twice as much as 2,000
machines do (2.5 CPU ms each). Arming is a transaction for each host. Other work kept both cores busy when this was measured (a load of 5 to 11): read CPU
seconds."""
CONNECTIONS, LEAST = 200, 0.8
WHAT = {
    "scripts": "iPXE scripts, first",
    "scripts again": "iPXE scripts, again",
    "answers": "answer files, first",
    "answers again": "answer files, again",
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Hosts of each part, and how many of them are switched on at once."""

    rate: int
    power: int
    at_once: int
    picture: int


FULL = Sizes(rate=2_000, power=10_000, at_once=1_000, picture=100_000)
QUICK = Sizes(rate=200, power=200, at_once=50, picture=200)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Each host's file once."""

    seconds: float
    cpu_s: float
    good: int


@dataclass(kw_only=True)
class Server:
    """One that was started, and what it said first."""

    process: "subprocess.Popen[str]"
    said: Mapping[str, Any]

    def cpu_s(self) -> float:
        """Its CPU seconds since it was asked last."""
        return float(self.hear("on\n")["cpu_s"])

    def hear(self, line: str) -> Any:
        """What it answers to a line."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    sizes = QUICK if options.hosts == (1_000,) else FULL
    made = _filled(machine, sizes.rate)
    ours, bare = (_rates(machine, server, made, sizes.rate) for server in ("serve", "bare"))
    rows = [told(_rate(name, sizes.rate, ours[0][name], bare[0][name], ours[1])) for name in WHAT]
    rows.append(told(_power_on(machine, _filled(machine, sizes.power), sizes.power, sizes.at_once)))
    rows.append(told(_picture(machine, sizes.picture)))
    return Found(rows=rows)


def _filled(machine: Machine, hosts: int) -> Path:
    """A directory with a fleet, of which all is applied but its generations."""
    directory = machine.directory / f"netboot-{hosts}"
    if not directory.exists():
        location = fleets.make(hosts, directory / "fleet.git")
        machine.python("-m", "bench.netbooted", "fill", directory / "data", f"file://{location}", str(hosts))
    return directory


@contextmanager
def _serving(machine: Machine, server: str, made: Path) -> Iterator[Server]:
    """Of a copy, so that what is made stays as it was."""
    data = made / server
    shutil.copytree(made / "data", data)
    command = [sys.executable, "-m", "bench.netbooted", server, str(data)]
    command += [f"file://{made / 'fleet.git'}"] if server == "serve" else []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": machine.environment()}
    with (machine.directory / f"{server}.log").open("w") as log, subprocess.Popen(command, stderr=log, **pipes) as process:  # type: ignore[call-overload]
        one = Server(process=process, said=json.loads(process.stdout.readline()))
        one.cpu_s()
        yield one
        process.stdin.close()
    shutil.rmtree(data)


def _rates(machine: Machine, server: str, made: Path, hosts: int) -> tuple[dict[str, Pass], float]:
    """By pass, and the server's peak memory."""
    found: dict[str, Pass] = {}
    with _serving(machine, server, made) as one:
        command = [sys.executable, "-m", "bench.netbooted", "ask", str(one.said["port"]), str(hosts), str(CONNECTIONS)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": machine.environment()}
        with subprocess.Popen(command, **pipes) as client:  # type: ignore[call-overload]
            for name in WHAT:
                said = json.loads(client.stdout.readline())
                found[name] = Pass(seconds=said["seconds"], good=said["good"], cpu_s=one.cpu_s())
                client.stdin.write("on\n")
                client.stdin.flush()
        most_mib = peak_mib(one.process.pid)
    return found, most_mib


def _rate(name: str, hosts: int, ours: Pass, bare: Pass, most_mib: float) -> Row:
    ratio = bare.seconds / ours.seconds
    each = f"{hosts / ours.seconds:,.0f} and {hosts / bare.seconds:,.0f} a second, {1e6 * ours.cpu_s / hosts:.0f} and {1e6 * bare.cpu_s / hosts:.0f} CPU us"
    return Row(
        name=f"netboot, {WHAT[name]}",
        hosts=hosts,
        seconds=ours.seconds,
        cpu_s=ours.cpu_s,
        peak_mib=most_mib,
        floor=bare.seconds,
        ratio=ratio,
        against=f"a bare handler that renders them; {each}",
        bar=f"at least {LEAST:g} times as many a second, all its own ({ours.good} of {hosts})",
        met=ratio >= LEAST and ours.good == bare.good == hosts,
    )


def _power_on(machine: Machine, made: Path, hosts: int, at_once: int) -> Row:
    with _serving(machine, "serve", made) as one:
        client = machine.python("-m", "bench.netbooted", "boot", str(one.said["port"]), str(hosts), str(at_once))
        said, cpu_s = json.loads(client.out), one.cpu_s()
        most_mib = peak_mib(one.process.pid)
        ended = one.hear("\n")
    repeated = ", ".join(f"{count} {what}" for what, count in sorted(said["repeated"].items())) or "none"
    took = f"a machine took {said['p50_s']:.1f} s, p99 {said['p99_s']:.1f} s; armed within {one.said['armed_s']:.1f} s"
    return Row(
        name=f"netboot, power-on, {at_once:,} at once",
        hosts=hosts,
        seconds=said["seconds"],
        cpu_s=cpu_s,
        peak_mib=most_mib,
        floor=said["cpu_s"],
        ratio=said["seconds"] / said["cpu_s"],
        against=f"its client's CPU; {took}; asked again: {repeated}",
        bar=f"all are installed ({ended['installed']} of {hosts}), and the run is done",
        met=ended["installed"] == hosts and said["failed"] == 0 and ended["states"] == {"done": 1},
    )


def _picture(machine: Machine, hosts: int) -> Row:
    made = _filled(machine, hosts)
    found = json.loads(machine.python("-m", "bench.netbooted", "picture", made / "data").out)
    return Row(
        name="netboot, the picture of machines",
        hosts=hosts,
        seconds=found["seconds"],
        cpu_s=found["cpu_s"],
        peak_mib=found["mib"],
        floor=found["floor_s"],
        ratio=found["cpu_s"] / found["floor_s"],
        against="reading the same rows",
    )
