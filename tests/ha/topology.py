"""The database as `docs/deploy` has it, on this machine's loopback: etcd, two PostgreSQL nodes under Patroni, HAProxy in front.

Patroni and HAProxy get the very files of `docs/deploy`, with other addresses and shorter times. Everything runs in a temporary directory,
as the user `postgres` if this process is root (PostgreSQL refuses root), and ends with this process, however that ends.
"""

import os
import pwd
import random
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

import yaml

from reconciler.errors import OctofleetError
from tests.ha.kept import Kept, until

DEPLOY = Path(__file__).resolve().parents[2] / "docs/deploy"
HERE = "127.0.0.1"
BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that no outgoing connection takes, so that a node that was killed finds its own free again."""

TIMES = {"ttl": 7, "loop_wait": 1, "retry_timeout": 3}
"""Patroni's, in seconds: a primary that says nothing for 7 s is replaced. Much less, and a busy machine alone would look like a dead one."""
START_S = 60.0
FAILOVER_S = 60.0

MEMORY_BYTES = 2 << 30

PROGRAMS = {"etcd": "etcd-server", "patroni": "patroni", "haproxy": "haproxy", "psql": "postgresql"}
"""What is needed, and the Debian package that brings it."""


@dataclass(frozen=True)
class Node:
    """A database node: where its files are, and its two ports."""

    name: str
    directory: Path
    sql: int
    rest: int

    def says(self, path: str) -> bool:
        """Whether its Patroni answers a question with yes (HTTP 200)."""
        return _says(self.rest, "OPTIONS", path)


class Cluster:
    """A database cluster; a context manager that starts and stops it. `keep` leaves the directory behind, with the logs.

    `start`, `restart` and `whole` raise `Late`, with what the logs say last. Methods are for one thread.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="octofleet-ha-", dir=_memory()))
        self.directory.chmod(0o755)
        self._keep = keep
        self._user = "postgres" if os.geteuid() == 0 else None
        etcd, peer, front, web, *ports = free_ports(11)
        self._etcd, self._peer, self.port, self.web_port = etcd, peer, front, web
        self.serves = {f"serve-{number}": ports.pop() for number in (1, 2, 3)}
        names = ("db-1", "db-2")
        self.nodes = {name: Node(name, self._place(name), sql, rest) for name, sql, rest in zip(names, ports[:2], ports[2:], strict=True)}
        words = ("SUPERUSER", "REPLICATION", "REWIND")
        self._passwords = {f"PATRONI_{word}_PASSWORD": secrets.token_hex(16) for word in words}
        self._password = secrets.token_hex(16)
        self._running: dict[str, Kept] = {}

    @property
    def url(self) -> str:
        """The database through HAProxy: always the primary."""
        return f"postgresql://octofleet:{self._password}@{HERE}:{self.port}/octofleet"

    @property
    def web_url(self) -> str:
        """Whichever `octofleet serve` is ready, through HAProxy; each listens on its port of `serves`."""
        return f"http://{HERE}:{self.web_port}"

    def url_of(self, name: str) -> str:
        """The database of one node, whatever it is at the moment."""
        return f"postgresql://octofleet:{self._password}@{HERE}:{self.nodes[name].sql}/octofleet"

    def start(self) -> Self:
        """Start everything and wait until it is whole."""
        try:
            self.start_etcd()
            for name in self.nodes:
                self.restart(name)
            self._run("haproxy", "haproxy", "-db", "-f", self._haproxy())
            self.whole()
        except BaseException:
            self.stop()
            raise
        return self

    def start_etcd(self) -> None:
        client, peer = f"http://{HERE}:{self._etcd}", f"http://{HERE}:{self._peer}"
        more = [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=etcd-1={peer}"]
        client_urls = [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        more += ["--logger=zap", "--log-level=warn"]
        self._run("etcd-1", "etcd", "--name=etcd-1", f"--data-dir={self._place('etcd-1') / 'data'}", *client_urls, *more)
        # Patroni that finds no etcd waits for 5 s before it looks again.
        self._until(lambda: _says(self._etcd, "GET", "/health"), "etcd", START_S)

    def restart(self, name: str) -> None:
        """Start a node; it finds its place by itself."""
        self._run(name, "patroni", self._patroni(self.nodes[name]), **self.patroni_environment(name))

    def kill(self, name: str) -> None:
        """SIGKILL to all of a part at once: `db-1`, `db-2`, `etcd-1` or `haproxy`."""
        self._running.pop(name).kill()

    def kill_primary(self) -> str:
        """Kill the primary, Patroni and PostgreSQL; gives its name."""
        name = self.primary()
        assert name is not None, "there is no primary to kill"
        self.kill(name)
        return name

    def primary(self) -> str | None:
        """The node that holds the leader's key, if any."""
        return next((node.name for node in self.nodes.values() if node.says("/primary")), None)

    def standby(self) -> str | None:
        """The node that has everything that was acknowledged and may become primary, if any."""
        return next((node.name for node in self.nodes.values() if node.says("/synchronous")), None)

    def promoted(self, other_than: str) -> float:
        """Wait until another node is primary; gives the seconds."""
        return self._until(lambda: self.primary() not in (None, other_than), f"another primary than {other_than}", FAILOVER_S)

    def whole(self) -> float:
        """Wait until there are a primary, a synchronous standby and a way to the primary; gives the seconds."""
        return self._until(lambda: self.primary() and self.standby() and self._open(), "a primary with a synchronous standby", START_S)

    def said(self, name: str) -> str:
        """All that a part wrote to its log."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """Kill everything and remove the directory. Harmless when repeated."""
        while self._running:
            self._running.popitem()[1].kill()
        if not self._keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def patroni_environment(self, name: str) -> dict[str, str]:
        """What a node's Patroni takes from its environment, as docs/deploy/patroni.yml says."""
        node = self.nodes[name]
        addresses = {"RESTAPI_CONNECT_ADDRESS": f"{HERE}:{node.rest}", "POSTGRESQL_CONNECT_ADDRESS": f"{HERE}:{node.sql}"}
        said = {"NAME": name} | addresses
        return {f"PATRONI_{key}": value for key, value in said.items()} | self._passwords | {"OCTOFLEET_DATABASE_PASSWORD": self._password}

    def _patroni(self, node: Node) -> str:
        text: dict[str, Any] = yaml.safe_load((DEPLOY / "patroni.yml").read_text())
        text["etcd3"]["hosts"] = [f"{HERE}:{self._etcd}"]
        text["restapi"]["listen"] = f"{HERE}:{node.rest}"
        text["bootstrap"]["dcs"] |= TIMES
        text["bootstrap"]["post_bootstrap"] = f"sh {DEPLOY / 'create-database.sh'}"
        text["postgresql"] |= {
            "listen": f"{HERE}:{node.sql}",
            "data_dir": str(node.directory / "data"),
            "bin_dir": str(_bin_directory()),
            "pgpass": str(node.directory / "pgpass"),
            "parameters": {"unix_socket_directories": str(node.directory)},
        }
        return self._write(f"{node.name}/patroni.yml", yaml.safe_dump(text))

    def _haproxy(self) -> str:
        text = (DEPLOY / "haproxy.cfg").read_text()
        moved = {"bind :5432": f"bind {HERE}:{self.port}", "bind :8080": f"bind {HERE}:{self.web_port}"}
        for name, node in self.nodes.items():
            moved[f"{name}:5432 check port 8008"] = f"{HERE}:{node.sql} check port {node.rest}"
        moved |= {f"{name}:8080 check": f"{HERE}:{port} check" for name, port in self.serves.items()}
        for there, here in moved.items():
            assert there in text, f"docs/deploy/haproxy.cfg has no {there}"
            text = text.replace(there, here)
        return self._write("haproxy.cfg", text)

    def _write(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def _place(self, name: str) -> Path:
        """A new directory that belongs to the daemons' user."""
        path = self.directory / name
        path.mkdir(mode=0o700, exist_ok=True)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def _run(self, name: str, program: str, *arguments: str, **environment: str) -> None:
        plain = {"PATH": f"{_bin_directory()}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.directory)}
        log = self.directory / f"{name}.log"
        self._running[name] = Kept([program, *arguments], cwd=self._place(name), log=log, env=plain | environment, user=self._user)

    def _open(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.Error:
            return False
        return True

    def _until(self, true: Callable[[], object], what: str, within_s: float) -> float:
        try:
            return until(true, what, within_s=within_s)
        except AssertionError as error:
            tails = "\n".join(f"--- {name}{'' if kept.alive else ' (ended)'}\n{kept.tail()}" for name, kept in self._running.items())
            error.add_note(tails)
            raise


def _says(port: int, method: str, path: str) -> bool:
    with closing(HTTPConnection(HERE, port, timeout=2)) as connection:
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            return False
        return answer.status == 200


def _memory() -> Path | None:
    """Where files are in memory, if there is room: a slow disk that others use too would be what is measured."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free >= MEMORY_BYTES else None


def _bin_directory() -> Path:
    """Where PostgreSQL's server programs are: the newest that Debian installed, or those on the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("postgres")
    if found is None:
        raise OctofleetError("PostgreSQL's server is not installed", hint="apt-get install postgresql")
    return Path(found).parent


def free_ports(number: int) -> list[int]:
    """Ports on the loopback that nobody listens on."""
    return [port for port, _ in zip(_candidates(), range(number), strict=False)]


def _candidates() -> Iterator[int]:
    for port in random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL)):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HERE, port))
            except OSError:
                continue
        yield port
