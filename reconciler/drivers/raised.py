"""Which errors of a call the caller's own functions raised: they say nothing of the system that the call is about.

In: functions of the caller, and an error. Out: the same functions, remembered, and whether the error is theirs.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from reconciler.errors import causes

T = TypeVar("T")
P = ParamSpec("P")


class Raised:
    """Of one call."""

    def __init__(self) -> None:
        self._errors: list[Exception] = []

    def by(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function; what it raises is remembered."""

        def called(*arguments: P.args, **named: P.kwargs) -> T:
            try:
                return function(*arguments, **named)
            except Exception as error:
                self._errors.append(error)
                raise

        return called

    def is_cause(self, error: BaseException) -> bool:
        """Whether one of them raised the error, or what it was raised from."""
        return any(cause is raised for cause in causes(error) for raised in self._errors)
