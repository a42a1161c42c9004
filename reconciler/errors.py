"""Every error that Octofleet raises on purpose, in one tree.

In: what could not be done, to what, where, and the next step. Out: one exception that the command prints as text or JSON.
A driver raises `RetryLater`, `Permanent` or `Stale`; wrappers and the apply loop act on the class, never on the text.
"""

from collections.abc import Iterator, Sequence

from reconciler.types.problem import Problem


class OctofleetError(Exception):
    """What could not be done. `message` names what, to what and where; `hint` the next step."""

    def __init__(self, message: str, *, hint: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class InputError(OctofleetError):
    """The user's input is wrong; carries every problem found, sorted."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems), code="invalid-input")


class Refused(OctofleetError):
    """A rule forbids it: a guard, an expired or superseded plan, a lock that someone holds. `after_s`: in how many seconds it does not any more, 0 if nobody
    can tell."""

    def __init__(self, message: str, *, hint: str = "", code: str = "error", after_s: float = 0.0) -> None:
        super().__init__(message, hint=hint, code=code)
        self.after_s = after_s


class RetryLater(OctofleetError):
    """It may work later; `after_s` is the least time to wait in seconds."""

    def __init__(self, message: str, *, after_s: float = 1.0, hint: str = "", code: str = "retry-later") -> None:
        super().__init__(message, hint=hint, code=code)
        self.after_s = after_s


class Permanent(OctofleetError):
    """It will not work however often it is tried."""


class Stale(OctofleetError):
    """The world is not as the plan saw it; a new plan is needed."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on. They may lead round in a circle: SQLAlchemy's name the driver's as their cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
