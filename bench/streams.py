"""Live runs: how far behind the slowest of many open event streams is, and how soon requests are answered meanwhile, all in one process.

In: nothing. Out: rows, on SQLite, beside a bare fan-out.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.measure import Machine, Row, peak_mib
from bench.results import Found, Options, told

NAME, TITLE = "streams", "Live runs"
BEGINNINGS = ("streams, ",)
NOTE = """One process serves, and works on a run of 2,000 steps, about 120 a second; 1,000 clients follow the run and 200 times a second somebody asks for the
list of runs. "Seconds" are from a line of the log being written to its arrival at the client that got it last, and the 99th percentile of an answer; "hosts"
are streams. The floor is a bare handler of the same library in such a process, which sends the text of the log's new lines every half second to all, asks
nothing about who reads, and answers with a constant. Readers share the cores."""
FINDINGS = """What is new is read once for all streams and encoded once for all who see the same of a run, so a stream costs a write every half
second.

Where the interpreter's lock went (py-spy, by thread): half to the event loop, for waking streams, their timers and aiohttp's writing in chunks; a
fifth to asking the rules every three seconds what each stream's reader may still see, which is asked once for each person and run since then (under a
hundredth); a fifth to answers. An answer took 0.54 CPU ms, half of it counting the run's 2,000 changes, a twelfth looking up the names of what may be
asked; it takes 0.17 since large runs are counted once a second and ended ones once. Streams are woken 50 at a time, with a look at the sockets in
between. The interpreter's switch interval (5 ms or 0.5) made no difference that could be told from the noise. With some 4,100 answers the whole took
11.6 CPU s before and 11.4 after (the bare fan-out: 3.4 to 4.2): most is the event loop, and the threads that wait for each other.

Both bars hold on an idle machine. Seconds here are the scheduler's as much as ours: with others' work on the two cores (a load of 11 to 16) ours was 2.5
to 3 s behind and answered its 99th percentile in 1.5 to 1.7 s, once 45 s behind, and the bare fan-out was up to 3.4 s behind; read the ratio. With more
work than cores for a minute, questions pile up, since 200 come each second whatever becomes of those before, and what finds no room is refused."""
STREAMS, STEPS, RATE = 1_000, 2_000, 200
BEHIND_S, ANSWER_S = 2.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What the reader and the server said."""

    late_s: float
    p99_s: float
    ended: int
    asked: int
    good: int
    cpu_s: float
    peak_mib: float


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    streams, steps = (100, 300) if quick else (STREAMS, STEPS)
    ours, bare = (_followed(machine, server, streams, steps) for server in ("octofleet", "bare"))
    rows = [
        Row(
            name=f"streams, furthest behind, {RATE} requests a second",
            hosts=streams,
            seconds=ours.late_s,
            cpu_s=ours.cpu_s,
            peak_mib=ours.peak_mib,
            floor=bare.late_s,
            ratio=ours.late_s / bare.late_s,
            against="a bare fan-out",
            bar=f"at most {BEHIND_S:g} s, all told to the end ({ours.ended} of {streams})",
            met=ours.late_s <= BEHIND_S and ours.ended == streams,
        ),
        Row(
            name=f"streams, p99 of an answer, {RATE} requests a second",
            hosts=streams,
            seconds=ours.p99_s,
            cpu_s=ours.cpu_s,
            peak_mib=ours.peak_mib,
            floor=bare.p99_s,
            ratio=ours.p99_s / bare.p99_s,
            against="a constant answer",
            bar=f"at most {ANSWER_S * 1000:g} ms, all answered ({ours.good} of {ours.asked})",
            met=ours.p99_s <= ANSWER_S and ours.good == ours.asked,
        ),
    ]
    return Found(rows=[told(row) for row in rows])


def _followed(machine: Machine, server: str, streams: int, steps: int) -> Followed:
    directory = machine.directory / f"streams-{server}-{time.monotonic_ns()}"
    directory.mkdir()
    command, environment = [sys.executable, "-m", "bench.streamed"], machine.environment()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment}
    with subprocess.Popen([*command, server, str(directory), str(steps)], **pipes) as process:  # type: ignore[call-overload]
        port = process.stdout.readline().decode().strip()
        with subprocess.Popen([*command, "read", port, str(streams), str(RATE)], **pipes) as reader:  # type: ignore[call-overload]
            assert reader.stdout.readline() == b"open\n", "the streams do not open"
            process.stdin.write(b"\n")
            process.stdin.flush()
            said = json.loads(reader.stdout.readline())
        most_mib = peak_mib(process.pid)
        process.stdin.close()
        cpu_s = float(process.stdout.readline())
    return Followed(
        late_s=said["late_s"],
        p99_s=said["p99_s"],
        ended=said["ended"],
        asked=said["asked"],
        good=said["good"],
        cpu_s=cpu_s,
        peak_mib=most_mib,
    )
