"""Questions that may hang: each in a thread of its own, asked by one at a time, and waited for no longer than a bound.

A question that hangs is not asked again until it has ended, so that a database which does not answer costs one thread and not one for each probe.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class TooLong(Exception):
    """No answer within the bound. `since_s`: how long ago it was asked, in seconds."""

    def __init__(self, since_s: float) -> None:
        super().__init__(f"no answer for {since_s:.1f} s")
        self.since_s = since_s


class Asking(Generic[T]):
    """One question. `within_s`: how long whoever asks waits, in seconds; `kept_s`: how long an answer is good."""

    def __init__(self, question: Callable[[], T], *, within_s: float = 2.0, kept_s: float = 0.0) -> None:
        self._question, self._within_s, self._kept_s = question, within_s, kept_s
        self._asked: tuple[float, asyncio.Future[T]] | None = None

    async def answer(self) -> T:
        """The answer, or what the question raised. Raises `TooLong`."""
        asked_at, answer = self._going()
        try:
            return await asyncio.wait_for(asyncio.shield(answer), self._within_s)
        except TimeoutError:
            raise TooLong(time.monotonic() - asked_at) from None

    def _going(self) -> tuple[float, "asyncio.Future[T]"]:
        """The question as it was asked last, or is asked now."""
        now, loop = time.monotonic(), asyncio.get_running_loop()
        if self._asked is not None:
            asked_at, answer = self._asked
            failed = answer.done() and (answer.cancelled() or answer.exception() is not None)
            if answer.get_loop() is loop and (not answer.done() or (not failed and now - asked_at < self._kept_s)):
                return self._asked
        answer = loop.create_future()
        self._asked = now, answer
        Thread(target=self._ask, args=(loop, answer), name="asking", daemon=True).start()
        return self._asked

    def _ask(self, loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]") -> None:
        settle: Callable[[], None]
        try:
            settle = partial(_answered, answer, self._question())
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            settle = partial(_failed, answer, error)
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle)


def _answered(answer: "asyncio.Future[T]", result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _failed(answer: "asyncio.Future[T]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # seen: whoever asked may have gone
