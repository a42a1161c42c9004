"""Real PostgreSQL servers of Debian's package, each in a directory of its own and reachable from this machine alone; they end with the tests.

`shared` is one for this process and its tests: `fresh` makes a database in it. A test that stops its server begins one with `Server`.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg

from reconciler.store.engine import Store
from tests.conftest import missing

USER, PASSWORD = "octofleet", "pass:w@rd/?#%20 x"
QUICK = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
SETTINGS = {"listen_addresses": "127.0.0.1", "shared_buffers": "16MB", "max_connections": "60", "deadlock_timeout": "50ms"}
ACCESS = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
PATIENCE_S = 60
MEMORY = 2 * 1024**3
_numbers = count()


def _programs() -> Path:
    """The directory of `initdb` and `postgres`, PostgreSQL 15 or newer; skips or fails the test without them."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres") if int(path.parts[4]) >= 15]
    if not found:
        missing("postgres", "apt-get install postgresql")
    return max(found, key=lambda path: int(path.parts[4]))


def _as_user(*options: str) -> list[str]:
    """How a server's programs are begun: they refuse root."""
    become = ["--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    return ["setpriv", *become, *options] if become or options else []


class Server:
    """A server and its data. `durable`: what it has committed outlives a crash of the machine; without, only its own. `of`: a standby of another."""

    def __init__(self, *, durable: bool = False, of: "Server | None" = None) -> None:
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="octofleet-postgresql-", dir=None if durable else _quick_place()))
        self.data = self.directory / "data"
        self.port = _free_port()
        self._settings = SETTINGS | ({} if durable else QUICK)
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        if of is not None:
            self._run("pg_basebackup", "-h", str(of.directory), "-p", str(of.port), "-U", USER, "-D", str(self.data), "-R", "-c", "fast")
            return
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        # a collation unlike the order of code points, so that tests find what relies on the database's own
        locale = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
        self._run("initdb", "-D", str(self.data), "-U", USER, f"--pwfile={password}", "--no-sync", "--no-instructions", *locale)
        (self.data / "pg_hba.conf").write_text(ACCESS)

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [*_as_user(), self._programs / program, *args], capture_output=True, text=True, cwd=self.directory, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self, **more: str) -> None:
        """Begin it, perhaps with more settings, and wait until it answers."""
        settings = self._settings | more | {"port": str(self.port), "unix_socket_directories": str(self.directory)}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        until = time.monotonic() + PATIENCE_S
        with (self.directory / "log").open("ab") as log:
            # it ends with this process, however that ends
            command = [*_as_user("--pdeathsig=INT"), str(self._programs / "postgres"), "-D", str(self.data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory)
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                said = (self.directory / "log").read_text()
                assert time.monotonic() < until, said
                if self._process.poll() is not None:
                    assert "pre-existing shared memory" in said or "lock file" in said, said  # children of a killed one still end
                    time.sleep(0.05)
                    self.start(**more)
                    return
                time.sleep(0.02)

    def stop(self) -> None:
        """End it in order; who is connected is cut off."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once with all its processes, as a crash of its machine does: whoever serves a connection says nothing any more."""
        if self._process is not None:
            pid = self._process.pid
            self._process.send_signal(signal.SIGSTOP)  # so that it begins no more of them
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            self._end(signal.SIGKILL)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(PATIENCE_S)
            self._process = None

    def promote(self) -> None:
        """Have a standby take writes."""
        self._run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def url(self, database: str) -> str:
        """Over the socket, without a password."""
        return f"postgresql://{USER}@{quote(str(self.directory), safe='')}:{self.port}/{database}"

    def tcp_url(self, database: str, password: str = PASSWORD) -> str:
        """Over the network, with the password."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements as an administrator; the rows of the last."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def make(self, template: str = "template1", options: str = "") -> str:
        """A new database; its name."""
        name = f"test_{next(_numbers)}"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {options}')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def remove(self) -> None:
        """End it and remove its data."""
        self.stop()
        until = time.monotonic() + PATIENCE_S
        while self.directory.exists() and time.monotonic() < until:
            shutil.rmtree(self.directory, ignore_errors=True)  # children of a killed one may still write


def _quick_place() -> Path | None:
    """Memory, where there is enough of it: a database is made in a tenth of the time."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY else None


def _free_port() -> int:
    """One that no connection is given by chance, so that a server finds it free again after it was down."""
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


@contextmanager
def server(*, durable: bool = False, of: Server | None = None) -> Iterator[Server]:
    """A server that runs for a block."""
    made = Server(durable=durable, of=of)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@cache
def shared() -> Server:
    """The server of this process; it goes when the process does."""
    made = Server()
    atexit.register(_remove, made, os.getpid())
    made.start()
    return made


def _remove(made: Server, process: int) -> None:
    if os.getpid() == process:  # and not in a child that was forked
        made.remove()


@cache
def _template() -> str:
    name = shared().make()
    Store(shared().url(name)).close()
    return name


@contextmanager
def fresh(*, empty: bool = False, options: Sequence[str] = ()) -> Iterator[str]:
    """The URL of a database of one's own in the shared server: migrated, or empty."""
    name = shared().make("template0" if empty else _template(), " ".join(options))
    try:
        yield shared().url(name)
    finally:
        shared().drop(name)
