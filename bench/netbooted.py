"""Machines that boot for `bench.netboot`, each part a process of its own.

`fill DATA REPOSITORY HOSTS` records a fleet as if all but its generations had been applied. `serve DATA REPOSITORY` plans those generations, approves and
begins them, works, and serves boot. `bare DATA` renders the same files of the same hosts with a bare handler. `ask PORT HOSTS CONNECTIONS` fetches each
host's script and answer file twice; `boot PORT HOSTS AT_ONCE` takes each host from its script to its last callback, each from an address of its own.
`picture DATA` says what a process's memory of machines takes.

A server prints JSON lines: its port (and what arming took); its CPU seconds since it was asked last, at each line of its stdin; `serve` at last, after an
empty line, how many are in the ledger and how runs stand.
"""

import asyncio
import json
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bench.fleets import mac_of, tenant_of
from bench.measure import rss_mib
from bench.seed import seed
from reconciler.applying import unfinished
from reconciler.beginning import begin
from reconciler.boot.picture import MACHINES, Picture
from reconciler.boot.serving import booting
from reconciler.logs import choose
from reconciler.planning import make_plan
from reconciler.serving import serving
from reconciler.store.engine import chunks
from reconciler.store.records import load_records, load_specs
from reconciler.types.request import Request
from reconciler.wiring import Installation, open_installation
from renderers.registry import RENDERERS

SETTINGS = """\
[boot]
listen = "127.0.0.1:0"
url = "http://127.0.0.1:8069"
networks = ["127.0.0.0/8"]
media = "{media}"
"""
KERNEL_BYTES = 65_536
KINDS = {"ipxe": "ipxe", "preseed.cfg": "preseed"}
URL = re.compile(rb"url=http://[^/]+(/\S+)")
AGAIN_S, TRIES = 0.5, 60


def fill(data: str, location: str, hosts: int, database: str = "") -> None:
    """See the module."""
    media = Path(data) / "media"
    media.mkdir(parents=True)
    (media / "linux").write_bytes(bytes(range(256)) * (KERNEL_BYTES // 256))
    first = f'database_url = "{database}"\n' if database else ""
    (Path(data) / "octofleet.toml").write_text(first + SETTINGS.format(media=media))
    print(seed(Path(data), location, hosts, without="netboot/install/"))


def serve(data: str, location: str) -> None:
    """See the module."""
    choose(level="info")
    installation = open_installation(Path(data))
    began = time.perf_counter()
    planned = make_plan(installation, installation.repository(location), Request(rev="main~1"))
    begin(installation, planned.row, approved=True)
    with serving(installation, "serve", [], lambda: False), booting(installation) as where:
        armed_s = _until(lambda: _count(installation, "installation") >= len(planned.plan.changes)) - began
        _until_idle()
        _say({"port": int(where[0].rpartition(":")[2]), "armed_s": armed_s, "armed": len(planned.plan.changes)})
        _tell_cpu()
        if _count(installation, "installed"):
            _until(lambda: not unfinished(installation))
        _say({"installed": _count(installation, "installed"), "open": len(unfinished(installation)), "states": _states(installation)})
    installation.close()


def picture(data: str) -> None:
    """See the module."""
    installation = open_installation(Path(data))
    made, before_mib, began, cpu = Picture(installation.store), rss_mib(), time.perf_counter(), time.process_time()
    made.refresh()
    said = {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "mib": rss_mib() - before_mib,
        "machines": len(made.hosts),
    }
    installation.close()
    database, cpu = sqlite3.connect(Path(data) / "octofleet.db"), time.process_time()
    query = "SELECT address, body FROM record JOIN spec ON spec.digest = record.digest WHERE address >= ? AND address < ?"
    for _ in database.execute(query, MACHINES):
        pass
    _say(said | {"floor_s": time.process_time() - cpu})


def _tell_cpu() -> None:
    before = time.process_time()
    for _ in iter(sys.stdin.readline, "\n"):
        _say({"cpu_s": time.process_time() - before})
        before = time.process_time()


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


def _until(so: object, within_s: float = 900.0) -> float:
    end = time.monotonic() + within_s
    while not so():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.2)
    return time.perf_counter()


def _until_idle() -> None:
    """The boot server has seen what is armed, and made its files."""
    before = float("-inf")
    while time.process_time() - before > 0.05:
        before = time.process_time()
        time.sleep(1)


def _count(installation: Installation, table: str) -> int:
    with installation.store.read() as connection:
        return int(connection.scalar(f"SELECT count(*) FROM {table}"))


def _states(installation: Installation) -> dict[str, int]:
    with installation.store.read() as connection:
        return dict(connection.rows("SELECT state, count(*) FROM run GROUP BY state"))


def bare(data: str) -> None:
    """See the module. What is rendered is what our server renders, from values in memory."""
    installation = open_installation(Path(data))
    values = {file: _values(installation, kind) for file, kind in KINDS.items()}
    by_mac = {mac_of(int(name[1:])).replace(":", "-"): name for _, name in values["ipxe"]}
    render = {file: RENDERERS[kind].render for file, kind in KINDS.items()}

    async def script(request: web.Request) -> web.Response:
        name = by_mac[request.query["mac"]]
        return web.Response(body=render["ipxe"](values["ipxe"][tenant_of(int(name[1:])), name]), content_type="text/plain")

    async def answer(request: web.Request) -> web.Response:
        part = request.match_info
        found = values[part["file"]][part["tenant"], part["host"]]
        return web.Response(body=render[part["file"]](found), content_type="text/plain")

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/boot/ipxe", script)
        app.router.add_get("/i/{token}/{tenant}/{host}/{file}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        _say({"port": runner.addresses[0][1]})
        await asyncio.to_thread(_tell_cpu)

    asyncio.run(run())
    installation.close()


def _values(installation: Installation, kind: str) -> dict[tuple[str, str], dict[str, object]]:
    base = f"http://127.0.0.1:8069/i/{'0' * 64}"
    found: dict[tuple[str, str], dict[str, object]] = {}
    with installation.store.read() as connection:
        first = f"boot/{kind}/"
        addresses = [
            a for (a,) in connection.rows("SELECT address FROM record WHERE address >= ? AND address < ?", (first, first[:-1] + "0"))
        ]
        for part in chunks(addresses):
            records = load_records(connection, part)
            specs = load_specs(connection, (record.digest for record in records.values()))
            for address, record in records.items():
                values = dict(specs[record.digest]["values"])
                values["boot"] = {**values.get("boot", {}), "url": base, "loaderUrl": base}
                values["install"] = {**values.get("install", {}), "callback": f"{base}/callback"}
                found[address.split("/")[2], address.split("/")[3]] = values
    return found


class Asker(asyncio.Protocol):
    """A connection that stays: asks for one path after the other, and takes what comes to `took`: raw bytes, so that it costs little beside the server."""

    def __init__(self, paths: Iterator[tuple[str, str]], took: dict[str, bytes], ended: asyncio.Queue[None]) -> None:
        self._paths, self._took, self._ended, self._data = paths, took, ended, b""
        self._name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        self._next()

    def _next(self) -> None:
        found = next(self._paths, None)
        if found is None:
            self._wire.close()
            self._ended.put_nowait(None)
            return
        self._name, path = found
        self._wire.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._took[self._name] = body if b" 200 " in head[:16] else b""
        self._data = b""
        self._next()


async def _asked(port: int, paths: Sequence[tuple[str, str]], connections: int) -> tuple[float, dict[str, bytes]]:
    """Seconds, and what came, by name."""
    loop, took, ended, left = asyncio.get_running_loop(), dict[str, bytes](), asyncio.Queue[None](), iter(paths)
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Asker(left, took, ended), "127.0.0.1", port)
    for _ in range(connections):
        await ended.get()
    return time.perf_counter() - began, took


def script_path(number: int) -> str:
    """What iPXE asks for."""
    return f"/boot/ipxe?mac={mac_of(number).replace(':', '-')}&arch=x86_64&platform=efi"


async def ask(port: int, hosts: int, connections: int) -> None:
    """See the module. Prints of each pass its seconds and how many answers were the host's own, when it is told to go on."""
    names = {f"h{number:06d}": number for number in range(hosts)}
    scripts = [(name, script_path(number)) for name, number in names.items()]
    answers: list[tuple[str, str]] = []
    for what in ("scripts", "scripts again", "answers", "answers again"):
        paths = scripts if what.startswith("scripts") else answers
        seconds, took = await _asked(port, paths, connections)
        good = sum(name.encode() in body for name, body in took.items())
        _say({"what": what, "seconds": seconds, "good": good})
        if what == "scripts again":
            answers = [(name, found.group(1).decode()) for name, body in took.items() if (found := URL.search(body))]
        sys.stdin.readline()


@dataclass(kw_only=True)
class Fleet:
    """Machines that boot; `repeated` counts what had to be asked again, by what it was."""

    port: int
    room: asyncio.Semaphore
    repeated: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    failed: int = 0

    async def machine(self, number: int) -> None:
        """One of them, with one connection of its loader's, and one of its installer's."""
        async with self.room:
            began = time.perf_counter()
            try:
                script = await self._answered(number, "GET", [script_path(number), "/media/linux"])
                found = URL.search(script[0])
                assert found is not None, script[0]
                path = found.group(1).decode()
                callback = "/".join([*path.split("/")[:3], "callback"])
                await self._answered(number, "GET", [path], [(callback, b"stage=booted"), (callback, b"stage=installed")])
            except (AssertionError, OSError) as error:
                self.failed += 1
                if self.failed < 4:
                    print(number, repr(error)[:300], file=sys.stderr)
                return
            self.took.append(time.perf_counter() - began)

    async def _answered(self, number: int, method: str, paths: Sequence[str], posts: Sequence[tuple[str, bytes]] = ()) -> list[bytes]:
        todo: list[tuple[str, str, bytes]] = [(method, path, b"") for path in paths] + [("POST", path, body) for path, body in posts]
        given: list[bytes] = []
        for _ in range(TRIES):
            try:
                await self._conversation(number, todo, given)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.repeated[type(error).__name__] += 1
            if not todo:
                return given
            await asyncio.sleep(AGAIN_S)
        raise AssertionError(f"no answer to {todo[0]}")

    async def _conversation(self, number: int, todo: list[tuple[str, str, bytes]], given: list[bytes]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address_of(number), 0))
        try:
            while todo:
                method, path, body = todo[0]
                kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n" if body else ""
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{kind}\r\n".encode() + body)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                data = await reader.readexactly(length)
                status = head[9:12].decode()
                if status != "200" or (path.startswith("/boot/") and not URL.search(data)):
                    self.repeated[f"{status} {path.split('/')[1]}"] += 1
                    return
                given.append(data)
                todo.pop(0)
        finally:
            writer.close()


def address_of(number: int) -> str:
    """A machine's own, on the loopback interface."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


async def boot(port: int, hosts: int, at_once: int) -> None:
    """See the module."""
    fleet, began = Fleet(port=port, room=asyncio.Semaphore(at_once)), time.perf_counter()
    await asyncio.gather(*(fleet.machine(number) for number in range(hosts)))
    took = sorted(fleet.took) or [0.0]
    said = {"seconds": time.perf_counter() - began, "repeated": fleet.repeated, "failed": fleet.failed, "p50_s": took[len(took) // 2]}
    _say(said | {"p99_s": took[int(len(took) * 0.99)], "cpu_s": time.process_time()})


if __name__ == "__main__":
    if sys.argv[1] in ("ask", "boot"):
        asyncio.run({"ask": ask, "boot": boot}[sys.argv[1]](*map(int, sys.argv[2:])))
    elif sys.argv[1] == "fill":
        fill(sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
    else:
        {"serve": serve, "bare": bare, "picture": picture}[sys.argv[1]](*sys.argv[2:])
