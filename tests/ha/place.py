"""What processes of the product share beside a cluster's database: a directory with a simulated world and boot files, and how they stand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from reconciler.drivers.memory import World
from tests.ha.kept import Late
from tests.ha.replicas import Replica
from tests.ha.topology import Cluster

LEASE_S = 5.0

STANDING = (
    "SELECT id, state, reason, ended_at FROM run",
    "SELECT status, count(*) FROM item GROUP BY 1",
    "SELECT * FROM step WHERE state <> 'ended' ORDER BY wave, seq LIMIT 5",
    "SELECT * FROM lane WHERE open <> 0",
    "SELECT * FROM worker",
    "SELECT number, owner, asked_at, due_at, failures, note FROM pull WHERE owner <> '' OR asked_at IS NOT NULL",
    "SELECT number, what, due_at, failures, note FROM posting WHERE wanted <> posted LIMIT 20",
    "SELECT * FROM forge",
    "SELECT id, status, queue_name, lock, worker_id, attempts FROM procrastinate_jobs WHERE status NOT IN ('succeeded') LIMIT 20",
)
"""What tells why work does not go on."""


class Place:
    """`env` is what each process gets, `world` what they apply to."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.directory = cluster.directory / name
        self.directory.mkdir()
        self.url = cluster.url
        self.world = World(str(self.directory / "world.db"))
        self.env = {
            "OCTOFLEET_DATABASE_URL": self.url,
            "OCTOFLEET_MEMORY__ENABLED": "true",
            "OCTOFLEET_MEMORY__PATH": str(self.directory / "world.db"),
            "OCTOFLEET_BOOT__DIRECTORY": str(self.directory / "boot"),
            "OCTOFLEET_APPLY__LEASE_S": str(LEASE_S),
        }

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            with psycopg.connect(self.url, connect_timeout=3) as connection:
                return connection.execute(query.encode()).fetchall()
        except psycopg.Error:
            return []

    @contextmanager
    def telling(self, replicas: Mapping[str, Replica]) -> Iterator[None]:
        """What is too late says how things stand."""
        try:
            yield
        except Late as error:
            for query in STANDING:
                error.add_note(f"{query}: {self.rows(query)}")
            for name, replica in replicas.items():
                error.add_note(f"--- {name}{'' if replica.alive else ' (ended)'}\n{replica.tail()}")
            raise

    def living(self) -> int:
        return len(self.rows("SELECT id FROM worker"))
