"""The work on pull requests: takes what is due, has it looked at (`looking.py`), and tries again later what failed.

One thread in each process that serves; one process at a time has a pull request on lease.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Event

from reconciler.apply.watched import Reach
from reconciler.errors import OctofleetError
from reconciler.events import Repeated, happened
from reconciler.report.text import brief
from reconciler.settings import Followed
from reconciler.store.engine import Unavailable
from reconciler.store.pulls import PullRow, commands_of, give_back_pull, take_pull
from reconciler.wiring import Installation
from webhooks.forge import Denied, Forge, Gone, Later, Unreadable
from webhooks.looking import Looking, Unplanned

TICK_S = 0.5
AGAIN_S, AGAIN_MOST_S = 5.0, 600.0


class PullWork:
    """`rules`: the repositories whose pull requests are planned. `tell` is called when there may be something to post.
    `moved_at`: when it last went round, in seconds of `time.monotonic()`."""

    def __init__(
        self,
        installation: Installation,
        worker: str,
        forges: Mapping[str, Forge],
        rules: Sequence[Followed],
    ) -> None:
        self.tell: Callable[[], None] = lambda: None
        self._installation, self._worker, self._forges = installation, worker, forges
        self._woken, self._reach, self._trouble = Event(), Reach(), Repeated()
        self._runner = asyncio.Runner()
        self.looking = Looking(installation, forges, {(rule.forge, rule.project): rule for rule in rules if rule.forge}, self._runner)
        self.moved_at = time.monotonic()

    def wake(self) -> None:
        """There may be something to look at."""
        self._woken.set()

    def work(self, stop: Event) -> None:
        """Go on until told to stop. A database that is away is waited for."""
        while not stop.is_set():
            self.moved_at = time.monotonic()
            busy = False
            try:
                busy = self.once()
            except Unavailable as error:
                self._reach.away(error)
            except Exception as error:  # noqa: BLE001 - the work goes on, whatever happened in one round
                self._trouble.happened("round-failed", error=f"{type(error).__name__}: {error}")
            if not busy:
                self._woken.wait(TICK_S)
                self._woken.clear()
        self.close()

    def close(self) -> None:
        """Let go of connections to forges; in the thread that has worked."""
        with self._runner:
            for forge in self._forges.values():
                with suppress(Exception):
                    self._runner.run(forge.client.close())

    def once(self) -> bool:
        """Look at one that is due; False if none is."""
        with self._installation.store.write(alone=False) as connection:
            row = take_pull(connection, self._worker)
        self._reach.back()
        if row is None:
            return False
        left = self._looked(row)
        with self._installation.store.write(alone=False) as connection:
            if not left.failures and commands_of(connection, left.key, done=False, most=1):
                left = replace(left, due_at=connection.now())
            give_back_pull(connection, left)
        self.tell()
        return True

    def _looked(self, row: PullRow) -> PullRow:
        """Look; whatever goes wrong is told and tried again later."""
        try:
            return self.looking.look(row)
        except Unplanned as broken:
            return self._failed(replace(broken.row, failures=row.failures), broken.__cause__)
        except Gone:
            return self.looking.lost(row, "it is not there any more")
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what one pull request brings may not keep others waiting
            return self._failed(row, error)

    def _failed(self, row: PullRow, error: BaseException | None) -> PullRow:
        if isinstance(error, Later | Denied | Unreadable | OctofleetError):
            text = error.message if isinstance(error, OctofleetError) else str(error)
            return self._again(row, text, error.after_s if isinstance(error, Later) else AGAIN_S)
        self._trouble.happened("round-failed", error=f"{row.key}: {type(error).__name__}: {error}")
        return self._again(row, f"it could not be looked at: {type(error).__name__}", AGAIN_S)

    def _again(self, row: PullRow, why: str, first_s: float) -> PullRow:
        """Tell why it could not be looked at; later each time that it fails again."""
        happened("pull-failed", pull=str(row.key), error=brief(why), failures=row.failures + 1)
        after_s = max(first_s, min(first_s * 2.0 ** min(row.failures, 20), AGAIN_MOST_S)) * random.uniform(0.9, 1.2)  # noqa: S311 - jitter
        return replace(row, failures=row.failures + 1, note=brief(why), due_at=self._now() + after_s)

    def _now(self) -> float:
        with self._installation.store.read() as connection:
            return connection.now()
