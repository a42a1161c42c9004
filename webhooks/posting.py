"""Work on the queue of each forge: what is to stand there is posted, within its rate; and where no webhook reaches, it is polled.

One event loop in one thread serves all forges, each in a task of its own: one that is away or slow holds up no other. The database is asked in other
threads. Of many processes one works on the queue of a forge at a time, and keeps it as long as it lives.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event as Told
from typing import TypeVar

from reconciler.events import Repeated, happened
from reconciler.report.text import brief
from reconciler.store.engine import Connection, Store, Unavailable
from reconciler.store.postings import (
    Posting,
    Queue,
    give_back_queue,
    keep_queue,
    know_forge,
    load_queue,
    open_postings,
    posted,
    put_off,
    take_queue,
)
from reconciler.store.pulls import PullKey, PullRow, pulls
from webhooks.forge import Denied, Later, Pull
from webhooks.rate import RATES, Bucket
from webhooks.session import CALL_S
from webhooks.wanted import say
from webhooks.watched import Effects, Project, Watched, effects

TICK_S = 0.25
FIRST_S, MOST_S = 5.0, 3600.0
"""How long a posting that failed is put off: twice as long each time."""
AWAY_S, AWAY_MOST_S = 5.0, 300.0
"""The same for a forge that is away."""
OVERLAP_S = 120.0
"""By how much two polls overlap: clocks differ, and a comment may become visible late."""
T = TypeVar("T")


def backoff_s(failures: int, first_s: float, most_s: float) -> float:
    """How long to wait after so many failures before this one."""
    return min(first_s * 2.0 ** min(failures, 20), most_s) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter


class Poster:
    """`worker`: under which id this process is known. `moved_at`: when the forge that has stood still the longest last moved, in seconds of
    `time.monotonic()`. `woken` is called when a poll has found something to look at."""

    def __init__(self, store: Store, forges: Sequence[Watched], worker: str, woken: Callable[[], None] = lambda: None) -> None:
        self._lines = [_Line(store, forge, worker, woken) for forge in forges]
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def moved_at(self) -> float:
        """See the class."""
        return min(line.moved_at for line in self._lines)

    def work(self, stop: Told) -> None:
        """Post and poll until told to stop."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: Told) -> None:
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(line.run()) for line in self._lines]
        while not stop.is_set():
            await asyncio.sleep(TICK_S)
        self._loop = None
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def wake(self) -> None:
        """There is something to post. From any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            for line in self._lines:
                loop.call_soon_threadsafe(line.woken.set)


class _Line:
    """The queue of one forge."""

    def __init__(self, store: Store, watched: Watched, worker: str, found: Callable[[], None]) -> None:
        self._store, self._of, self._worker, self._found = store, watched, worker, found
        self._client, self._bucket = watched.forge.client, Bucket(RATES[watched.rules.type])
        self._trouble, self._away = Repeated(), Repeated()
        self._denied = ""
        self._poll_s = watched.rules.poll_s
        self._known = False
        self._ask_at, self._asked = 0.0, 0
        self.woken, self.moved_at = asyncio.Event(), time.monotonic()

    async def run(self) -> None:
        """Go round until cancelled."""
        try:
            while True:
                try:
                    await self._round()
                except Unavailable:
                    pass  # the worker beside tells of it
                except Exception as error:  # noqa: BLE001 - the next round may do better
                    self._trouble.happened("round-failed", error=f"{self._of.name}: {type(error).__name__}: {error}")
                self.moved_at = time.monotonic()
                await self._pause()
        finally:
            await self._client.close()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(TICK_S):
                await self.woken.wait()
        except TimeoutError:
            pass
        self.woken.clear()

    async def _round(self) -> None:
        """Post what is due, and poll if it is time for that; posting goes before every call of a poll."""
        if not self._known:
            await self._write(lambda connection: know_forge(connection, self._of.name))
            self._known = True
        await self._learn_account()
        if not await self._read(self._is_due):
            return
        queue = await self._write(lambda connection: take_queue(connection, self._of.name, self._worker))
        if queue is None:
            return
        now = await self._read(lambda connection: connection.now())
        late, since = self._is_late(queue, now), queue.polled_at
        if late:
            queue = replace(queue, polled_at=now)
        try:
            await self._post()
            if late:
                async for found in self._poll(now if since is None else since - OVERLAP_S):
                    if found:
                        await self._write(found.write)
                        self._found()
                    await self._post()
        except Later as error:
            queue = replace(queue, polled_at=now if since is None else since)
            await self._stand_back(queue, max(error.after_s, backoff_s(queue.failures, AWAY_S, AWAY_MOST_S)), str(error))
            return
        if late or queue.failures:
            await self._write(lambda connection: keep_queue(connection, queue))
        if late:
            happened("polled", forge=self._of.name)

    def _is_due(self, connection: Connection) -> bool:
        """Whether there is something to do, as far as one may."""
        queue = load_queue(connection, self._of.name)
        if queue is None:
            return False
        may_post = not self._bucket.wait_s() and bool(open_postings(connection, self._of.name, 1))
        return may_post or self._is_late(queue, connection.now())

    def _is_late(self, queue: Queue, now: float) -> bool:
        return bool(self._poll_s) and (queue.polled_at is None or now - queue.polled_at >= self._poll_s)

    async def _learn_account(self) -> None:
        """Under which login we write: every process has to know, to tell our comments from others'."""
        if self._of.accounts.get(self._of.name) or time.monotonic() < self._ask_at:
            return
        try:
            self._of.accounts[self._of.name] = await self._call(self._client.account())
        except Exception as error:  # noqa: BLE001 - whatever it is, the forge is not asked again at once
            after_s = error.after_s if isinstance(error, Later) else 0.0
            self._ask_at = time.monotonic() + max(after_s, backoff_s(self._asked, AWAY_S, AWAY_MOST_S))
            self._asked += 1
            self._tell(error)
            if not isinstance(error, Denied):
                self._away.happened("forge-away", forge=self._of.name, error=str(error), failures=self._asked)

    async def _stand_back(self, queue: Queue, wait_s: float, note: str) -> None:
        """Leave the forge alone for so long, whoever has its queue next."""
        self._away.happened("forge-away", forge=self._of.name, error=note, failures=queue.failures + 1)
        failures = queue.failures + 1
        await self._write(lambda connection: give_back_queue(connection, queue, after_s=wait_s, failures=failures, note=brief(note)))

    async def _post(self) -> None:
        """Say what is due, as far as the rate allows. Raises `Later` if the forge is not to be called any more for now."""
        while due := await self._read(lambda connection: open_postings(connection, self._of.name, 10)):
            for posting in due:
                if self._bucket.wait_s():
                    return
                self._bucket.take()
                await self._said(posting)
                self.moved_at = time.monotonic()

    async def _said(self, posting: Posting) -> None:
        try:
            name = await self._call(say(self._client, posting))
        except Exception as error:
            wait_s, note = backoff_s(posting.failures, FIRST_S, MOST_S), brief(f"{type(error).__name__}: {error}")
            await self._write(lambda connection: put_off(connection, posting, wait_s, note))
            happened("posting-failed", forge=self._of.name, pull=str(posting.key), what=posting.what, error=note)
            if isinstance(error, Later):
                raise
            self._tell(error)
            return
        self._denied = ""
        await self._write(lambda connection: posted(connection, posting, name))
        happened("posted", forge=self._of.name, pull=str(posting.key), what=posting.what)

    def _tell(self, error: Exception) -> None:
        """That the forge refuses, once."""
        if isinstance(error, Denied) and str(error) != self._denied:
            self._denied = str(error)
            happened("forge-denied", forge=self._of.name, error=str(error))

    async def _poll(self, since: float) -> AsyncIterator[Effects]:
        """What has changed at the forge, and who has said what since that time, call by call."""
        for project in self._of.projects.values():
            there: Sequence[Pull] = ()
            with self._telling(project):
                there = await self._call(self._client.open_pulls(project.name, project.branch))
                yield self._changed(project, there, await self._read(pulls))
            for pull in there:
                with self._telling(project):
                    yield effects(self._of, await self._call(self._client.comments(project.name, pull.number, since)))
                self.moved_at = time.monotonic()

    @contextmanager
    def _telling(self, project: Project) -> Iterator[None]:
        """What goes wrong with one thing is told, and the others are looked at."""
        try:
            yield
        except Later:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._tell(error)
            self._trouble.happened("poll-failed", forge=self._of.name, project=project.name, error=f"{type(error).__name__}: {error}")

    def _changed(self, project: Project, there: Sequence[Pull], here: Sequence[PullRow]) -> Effects:
        """Those that differ from what is known, are new, or are not open there any more."""
        own = [row for row in here if (row.key.forge, row.key.project) == (self._of.name, project.name)]
        known = {row.key.number: (row.head, row.branch) for row in own}
        wanted = {pull.number for pull in there if known.get(pull.number) != (pull.head, pull.base_branch)}
        ours = {row.key.number for row in own if row.branch == project.branch or not project.branch}
        wanted |= ours - {pull.number for pull in there}
        return Effects(pulls={PullKey(forge=self._of.name, project=project.name, number=number): project.location for number in wanted})

    async def _call(self, call: Awaitable[T]) -> T:
        """A call of the forge, which ends. Raises as `Client` does."""
        try:
            async with asyncio.timeout(2 * CALL_S):
                return await call
        except TimeoutError:
            raise Later("the forge does not answer") from None

    async def _read(self, look: Callable[[Connection], T]) -> T:
        def reading() -> T:
            with self._store.read() as connection:
                return look(connection)

        return await asyncio.to_thread(reading)

    async def _write(self, change: Callable[[Connection], T]) -> T:
        def writing() -> T:
            with self._store.write(alone=False) as connection:
                return change(connection)

        return await asyncio.to_thread(writing)
