"""Somebody who writes numbered rows through one address, whatever happens behind it, and remembers what was acknowledged."""

import threading
import time
from itertools import pairwise
from typing import Self

import psycopg

PAUSE_S = 0.005
RETRY_S = 0.1


def rows(url: str) -> set[int]:
    """The numbers that stand in the database."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        return {number for (number,) in connection.execute("SELECT number FROM written")}


class Writer:
    """Writes in a thread of its own, one row in each transaction, until its block ends. A number that failed is not tried again: it may stand
    in the database or not. `acknowledged` has the rest, each of which must."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._end = threading.Event()
        self._acknowledged: list[int] = []
        self._at: list[float] = []
        self.failures = 0

    @property
    def acknowledged(self) -> frozenset[int]:
        return frozenset(self._acknowledged)

    @property
    def silence_s(self) -> float:
        """The longest time between two acknowledgements, in seconds."""
        return max((later - earlier for earlier, later in pairwise(tuple(self._at))), default=0.0)

    def __enter__(self) -> Self:
        with psycopg.connect(self._url, connect_timeout=5) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS written (number bigint PRIMARY KEY)")
            connection.execute("TRUNCATE written")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        while not self._end.is_set():
            try:
                with psycopg.connect(self._url, connect_timeout=5, autocommit=True) as connection:
                    while not self._end.wait(PAUSE_S):
                        number += 1
                        connection.execute("INSERT INTO written VALUES (%s)", (number,))
                        self._acknowledged.append(number)
                        self._at.append(time.monotonic())
            except psycopg.Error:
                self.failures += 1
                self._end.wait(RETRY_S)
