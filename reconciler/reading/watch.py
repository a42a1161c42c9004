"""Keeps the picture of an installation's fleets fresh in this process, while somebody asks for it.

Whether anything has changed is asked by whoever wants the picture, at most once a second, and costs a few rows; a new one is made in a thread. Small
fleets have it at once; of large ones the picture before is given until the new one is there.
"""

import time
from collections.abc import Collection
from threading import Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary, ref

from reconciler.errors import OctofleetError
from reconciler.events import Repeated
from reconciler.reading.picture import Maker, Picture
from reconciler.store.engine import Store
from reconciler.store.standings import told_by
from reconciler.wiring import Installation

EVERY_S = 1.0
WAIT_S = 0.5
"""So long whoever asks waits for a picture that is being made."""
OLD_S = 60.0
"""A picture is made anew after so long, whatever has changed."""


class Watch:
    """The picture of one database, as it is known with these drivers. Safe for threads."""

    def __init__(self, store: Store, drivers: Collection[str]) -> None:
        self._store, self._maker, self._lock = ref(store), Maker(drivers), Lock()
        self._picture: Picture | None = None
        self._told: tuple[Any, ...] = ()
        self._asked_at, self._made_at = float("-inf"), float("-inf")
        self._making: Thread | None = None
        self._trouble = Repeated()

    def picture(self) -> Picture:
        """The picture, at most a little old. Raises `Unavailable`."""
        if self._picture is None:
            return self.look()
        if time.monotonic() - self._asked_at >= EVERY_S:
            self._asked_at = time.monotonic()
            with self._opened().read() as connection:
                stale = told_by(connection) != self._told or time.monotonic() - self._made_at > OLD_S
            if stale and (self._making is None or not self._making.is_alive()):
                self._making = Thread(target=self._make, name="picture", daemon=True)
                self._making.start()
                self._making.join(WAIT_S)
        return self._picture

    def look(self) -> Picture:
        """The picture as it is now: looks again if anything has changed, and waits for it."""
        with self._lock:
            with self._opened().read() as connection:
                told = told_by(connection)
                if self._picture is None or told != self._told or time.monotonic() - self._made_at > OLD_S:
                    self._picture, self._told, self._made_at = self._maker.make(connection), told, time.monotonic()
            self._asked_at = time.monotonic()
            return self._picture

    def _opened(self) -> Store:
        store = self._store()
        if store is None:
            raise RuntimeError("the database was let go of")
        return store

    def _make(self) -> None:
        try:
            self.look()
        except OctofleetError as error:
            self._trouble.happened("picture-failed", error=error.message)  # the one before is still given


_watches: "WeakKeyDictionary[Store, Watch]" = WeakKeyDictionary()
_lock = Lock()


def watch(installation: Installation) -> Watch:
    """The one of an installation's open database in this process."""
    with _lock:
        found = _watches.get(installation.store)
        if found is None:
            found = _watches[installation.store] = Watch(installation.store, frozenset(installation.drivers))
        return found
