"""What `bench.tftp` runs in a network namespace of its own: both servers, and clients of each in turn.

In: a directory with `tftpload` and `snponly.efi`, the block size, how many at once, the window size, transfers of a round, rounds. Out: JSON by server.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

from bench.measure import cpu_s, peak_mib
from reconciler.boot.tftp import TftpLimits, TftpServer

FILE, OURS, LIMIT_S, START_S = "snponly.efi", 6969, 120.0, 20.0
DNSMASQ = (
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--port=0",
    "--enable-tftp",
    "--tftp-max=2000",
    "--interface=lo",
    "--bind-interfaces",
)
DNSMASQ += ("--user=root", "--group=root", "--log-facility=/dev/null", "--pid-file=")


def main() -> None:
    """Measure, or serve."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if sys.argv[1] == "serve":
        asyncio.run(_serve(Path(sys.argv[2])))
        return
    directory, block = Path(sys.argv[1]), sys.argv[2]
    at_once, window, transfers, rounds = map(int, sys.argv[3:])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    commands = {
        "octofleet": [sys.executable, "-m", "bench.tftp_storm", "serve", str(directory)],
        "dnsmasq": ["dnsmasq", *DNSMASQ, f"--tftp-root={directory}"],
    }
    ports, found = {"octofleet": OURS, "dnsmasq": 69}, {name: Counter() for name in commands}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(subprocess.Popen(command, stdin=subprocess.DEVNULL)) for name, command in commands.items()}
        for server in servers.values():
            stack.callback(server.terminate)
        for port in ports.values():
            _until_it_serves(directory, block, port)
        for turn in range(rounds):
            for name in sorted(servers, reverse=bool(turn % 2)):
                before = cpu_s(servers[name].pid)
                said = _load(directory, block, ports[name], at_once, window, transfers)
                found[name].update(said | {"cpu_s": cpu_s(servers[name].pid) - before})
        result = {name: {**found[name], "peak_mib": peak_mib(server.pid)} for name, server in servers.items()}
    print(json.dumps(result))


def _load(directory: Path, block: str, port: int, at_once: int, window: int, transfers: int, limit_s: float = LIMIT_S) -> dict[str, float]:
    numbers = map(str, (at_once, transfers, block, window, limit_s))
    command = [directory / "tftpload", "127.0.0.1", str(port), FILE, directory / FILE, *numbers]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return dict(zip(("complete", "failed", "repeated", "seconds"), map(float, said), strict=True))


def _until_it_serves(directory: Path, block: str, port: int) -> None:
    limit = time.monotonic() + START_S
    while not _load(directory, block, port, 1, 1, 1, 1.0)["complete"]:
        assert time.monotonic() < limit, f"nothing serves at port {port}"


async def _serve(directory: Path) -> None:
    content = (directory / FILE).read_bytes()
    server = TftpServer(lambda name, address: content if name == FILE else None, (ip_network("127.0.0.0/8"),), TftpLimits())
    await server.start("127.0.0.1", OURS)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
