"""TFTP: a boot storm on loopback, beside dnsmasq's TFTP, in a network namespace of its own.

In: nothing. Out: rows. Root, dnsmasq (Debian's dnsmasq-base), unshare and gcc (for the load, `tftpload.c`) are needed; without them nothing is measured.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace

from bench.measure import ROOT, Machine, Row
from bench.results import Found, Options, told

NAME, TITLE = "tftp", "TFTP"
BEGINNINGS = ("TFTP, ",)
NOTE = """Machines of one network, each with an address of its own, are switched on at once and read a file of 174 kB (as large as `snponly.efi`), with
blocks of 1,468 bytes; the client checks every byte. Ours and dnsmasq's server take turns within the same seconds, in rounds. "Seconds" are those of all
rounds, "hosts" transfers, "CPU s" those of our server; the ratio is transfers a second, ours to dnsmasq's: here more is better. dnsmasq 2.90 knows no
windowsize, and answers such a request without it."""
FINDINGS = """Without windowsize a transfer is 119 times "receive 4 bytes, send 1,472". The kernel's part of that is much the same for both (5 µs a block);
Python adds 2.5 µs, dnsmasq an `lseek`, a `read` and, for each round, a look at all its sockets. What made it so: connected sockets, one epoll object for all
transfers beneath the loop, which tells of each packet once (that alone: a sixth), files kept as they go over the wire, so that a block is a slice, and one
timer for all. With windowsize a whole window is one call, which the kernel cuts into datagrams (UDP segmentation offload): 0.46 CPU ms instead of 1.1.
At 1,000 at once dnsmasq loses requests, and its clients ask again after a second; ours has a longer queue (`net.core.rmem_max` permitting).
Where others keep the cores busy, servers get equal shares of them, and the ratio is that of CPU time; where the client is what limits, it is nearer to 1."""
FILE_BYTES, BLOCK = 174_000, 1468
NEEDED = {"dnsmasq": "dnsmasq-base", "gcc": "gcc", "unshare": "util-linux", "ip": "iproute2"}
CASES = (
    ("TFTP, 100 at once", 100, 1, 0.0),
    ("TFTP, 1,000 at once", 1000, 1, 1.0),
    ("TFTP, 1,000 at once, windowsize 4", 1000, 4, 1.3),
)
STORM = "TFTP, 5,000 transfers, 1,000 at once"


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    absent = [f"{program} (apt-get install {package})" for program, package in NEEDED.items() if _path(program) is None]
    if os.geteuid():
        absent.append("root, who may make a network namespace")
    if absent:
        reason = f"TFTP beside dnsmasq: missing {', '.join(absent)}"
        print(f"  skipped: {reason}")
        return Found(rows=(), skipped=[reason])
    quick = options.hosts == (1_000,)
    load, content = machine.directory / "tftpload", machine.directory / "snponly.efi"
    machine.cost([str(_path("gcc")), "-O2", "-Wall", "-o", load, ROOT / "bench" / "tftpload.c"])
    content.write_bytes(bytes(range(251)) * (FILE_BYTES // 251))
    rounds = 2 if quick else 6
    rows = [told(_row(name, least, _storm(machine, at_once, window, 1000, rounds))) for name, at_once, window, least in CASES]
    if not quick:
        rows.append(told(_whole(_storm(machine, 1000, 1, 5000, 1))))
    return Found(rows=rows)


def _storm(machine: Machine, at_once: int, window: int, transfers: int, rounds: int) -> Mapping[str, Mapping[str, float]]:
    numbers = [str(number) for number in (at_once, window, transfers, rounds)]
    command = ["unshare", "-n", sys.executable, "-m", "bench.tftp_storm", str(machine.directory), str(BLOCK), *numbers]
    found: Mapping[str, Mapping[str, float]] = json.loads(machine.cost(command).out)
    return found


def _row(name: str, least: float, found: Mapping[str, Mapping[str, float]]) -> Row:
    ours, theirs = found["octofleet"], found["dnsmasq"]
    ratio = (ours["complete"] / ours["seconds"]) / (theirs["complete"] / theirs["seconds"])
    each = f"{1000 * ours['cpu_s'] / ours['complete']:.2f} CPU ms a transfer, dnsmasq {1000 * theirs['cpu_s'] / theirs['complete']:.2f}"
    return Row(
        name=name,
        hosts=int(ours["complete"]),
        seconds=ours["seconds"],
        cpu_s=ours["cpu_s"],
        peak_mib=ours["peak_mib"],
        floor=theirs["seconds"],
        ratio=ratio,
        against=f"dnsmasq; {each}",
        bar=f"at least {least:g} times the transfers a second" if least else "",
        met=ratio >= least if least else None,
    )


def _whole(found: Mapping[str, Mapping[str, float]]) -> Row:
    ours, theirs = found["octofleet"], found["dnsmasq"]
    bar = f"none fails ({ours['failed']:.0f} did, {ours['repeated']:.0f} packets asked for again; dnsmasq: {theirs['failed']:.0f}, {theirs['repeated']:.0f})"
    return replace(_row(STORM, 0.0, found), bar=bar, met=ours["failed"] == 0)


def _path(program: str) -> str | None:
    return shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin")
