"""Threads that answer: the database, Git and templates are never asked in the event loop. What nobody has time for is refused, not piled up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, local
from typing import TypeVar

from reconciler.errors import RetryLater
from reconciler.wiring import Installation

T = TypeVar("T")
THREADS, WAITING_MOST = 4, 256
WITHIN_S = 30.0


class Threads:
    """`number` threads, each with an installation of its own, and at most `waiting_most` questions that are answered or wait."""

    def __init__(
        self, installation: Installation, *, number: int = THREADS, waiting_most: int = WAITING_MOST, within_s: float = WITHIN_S
    ) -> None:
        self._installation, self._waiting_most, self._within_s = installation, waiting_most, within_s
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="answers")
        self._own, self._made, self._lock = local(), list[Installation](), Lock()
        self._waiting = 0

    async def run(self, work: Callable[[Installation], T]) -> T:
        """What the work gives. Raises what it raises, and `RetryLater` if there is no room or no time."""
        if self._waiting >= self._waiting_most:
            raise RetryLater("the server has too much to answer", after_s=2, hint="try again in a moment", code="busy")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._mine()))
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._within_s)
        except TimeoutError:
            text = f"it was not answered within {self._within_s:g} s"
            raise RetryLater(text, after_s=5, hint="octofleet doctor says whether the database answers", code="slow") from None

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # seen: whoever asked may have gone

    def _mine(self) -> Installation:
        found: Installation | None = getattr(self._own, "installation", None)
        if found is None:
            found = self._own.installation = self._installation.apart()
            with self._lock:
                self._made.append(found)
        return found

    def close(self) -> None:
        """Answer nothing more. What still runs is left alone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
