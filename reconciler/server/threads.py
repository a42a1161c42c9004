"""Threads that answer: the database, Git and templates are never asked in the event loop. What nobody has time for is refused, not piled up.

Whoever asks much waits behind himself: askers take turns, one has no more than half of the threads, and what takes long never has all of them.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import local
from typing import Any, TypeVar

from reconciler.errors import RetryLater
from reconciler.wiring import Installation

T = TypeVar("T")
THREADS, OPEN_MOST, OPEN_OF_ONE = 4, 256, 64
WITHIN_S = 30.0
ALL = None
"""The key of all questions, beside their askers' and lanes'."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lane:
    """Questions of a kind: how many are answered at once, and how many may be open."""

    at_once: int
    open_most: int


QUICK = Lane(at_once=THREADS, open_most=OPEN_MOST)
LONG = Lane(at_once=2, open_most=64)
"""Plans, and whatever else reads all of a commit."""
PASSWORD = Lane(at_once=1, open_most=64)
"""What computes a hash that is slow on purpose, for whoever comes by."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Question:
    """Belongs to the event loop."""

    of: str
    lane: Lane
    work: Callable[[Installation], Any]
    answer: "asyncio.Future[Any]"
    begun: bool = False

    def count(self, counter: Counter[object], by: int) -> None:
        """As one of all, of its asker's, and of its lane's."""
        for key in (ALL, self.of, self.lane):
            counter[key] += by
            if not counter[key]:
                del counter[key]


class Threads:
    """`number` threads, each with an installation of its own. A question is open until it is answered; at most `open_most` are, and `open_of_one` of one
    asker. Used in one event loop."""

    def __init__(
        self,
        installation: Installation,
        *,
        number: int = THREADS,
        open_most: int = OPEN_MOST,
        open_of_one: int = OPEN_OF_ONE,
        within_s: float = WITHIN_S,
    ) -> None:
        self._installation, self._number, self._within_s = installation, number, within_s
        self._open_most, self._open_of_one = open_most, open_of_one
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="answers")
        self._own = local()
        self._turns: dict[tuple[str, Lane], deque[_Question]] = {}
        self._open, self._running = Counter[object](), Counter[object]()
        self._closed = False

    async def run(self, work: Callable[[Installation], T], *, of: str = "", lane: Lane = QUICK) -> T:
        """What the work gives; `of`: who asks for it. Raises what it raises, and `RetryLater` if there is no room or no time: what has not begun by then never
        does."""
        most = {ALL: self._open_most, of: self._open_of_one, lane: lane.open_most}
        if self._closed or any(self._open[key] >= number for key, number in most.items()):
            raise RetryLater("the server has too much to answer", after_s=2, hint="try again in a moment", code="busy")
        question = _Question(of=of, lane=lane, work=work, answer=asyncio.get_running_loop().create_future())
        question.count(self._open, 1)
        self._turns.setdefault((of, lane), deque()).append(question)
        self._start()
        try:
            found: T = await asyncio.wait_for(asyncio.shield(question.answer), self._within_s)
            return found
        except TimeoutError:
            text = f"it was not answered within {self._within_s:g} s"
            raise RetryLater(text, after_s=5, hint="octofleet doctor says whether the database answers", code="slow") from None
        finally:
            if not question.begun:
                self._drop(question)

    def _start(self) -> None:
        """Have free threads answer whoever's turn it is."""
        for turn in () if self._closed else list(self._turns):
            of, lane = turn
            if self._running[ALL] == self._number:
                return
            if self._running[of] < max(1, self._number // 2) and self._running[lane] < lane.at_once:
                self._begin(turn)

    def _begin(self, turn: tuple[str, Lane]) -> None:
        questions = self._turns.pop(turn)
        question = questions.popleft()
        if questions:
            self._turns[turn] = questions  # after all others
        question.begun = True
        question.count(self._running, 1)
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: question.work(self._mine()))
        future.add_done_callback(partial(self._done, question))

    def _done(self, question: _Question, future: "asyncio.Future[Any]") -> None:
        question.count(self._running, -1)
        question.count(self._open, -1)
        if future.cancelled():
            question.answer.cancel()
        elif (error := future.exception()) is not None:
            question.answer.set_exception(error)
            question.answer.exception()  # seen: whoever asked may have gone
        else:
            question.answer.set_result(future.result())
        self._start()

    def _drop(self, question: _Question) -> None:
        turn = question.of, question.lane
        self._turns[turn].remove(question)
        if not self._turns[turn]:
            del self._turns[turn]
        question.count(self._open, -1)

    def _mine(self) -> Installation:
        found: Installation | None = getattr(self._own, "installation", None)
        if found is None:
            found = self._own.installation = self._installation.apart()
        return found

    def close(self) -> None:
        """Answer nothing more. What still runs is left alone."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
