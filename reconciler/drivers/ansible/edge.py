"""Where what one group of resources did not expect ends, so that it is no trouble of the others of the call.

In: an exception of a group's run. Out: what it means for that group. Must not: keep what the caller itself raised (a lease that is lost, a journal that cannot
be written): nothing may go on after that.
"""

from dataclasses import replace

from reconciler.drivers.driver import Context
from reconciler.drivers.raised import Raised
from reconciler.errors import OctofleetError, Stale
from reconciler.types.observation import Unknown
from reconciler.types.outcome import Outcome, Status

CODE = "driver-failed"


class Edge:
    """Of one call. `context`: the call's, of which it is remembered what its ways back to the caller raise."""

    def __init__(self, context: Context) -> None:
        self._raised = Raised()
        by = self._raised.by
        self.context = replace(context, log=by(context.log), checkpoint=by(context.checkpoint), told=by(context.told), met=by(context.met))

    def is_from_outside(self, error: BaseException) -> bool:
        """Whether the caller raised it, or what it was raised from."""
        return self._raised.is_cause(error)


def unknown(error: Exception, now: float) -> Unknown:
    """What is known of what could not be looked at."""
    if isinstance(error, OctofleetError):
        return Unknown(code=error.code, reason=f"{error.message} ({error.hint})" if error.hint else error.message, at=now)
    return Unknown(code=CODE, reason=_text(error), at=now)


def failed(error: Exception) -> Outcome:
    """How a change ended."""
    return Outcome(status=Status.STALE if isinstance(error, Stale) else Status.FAILED, error=_text(error))


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, OctofleetError) else f"{type(error).__name__}: {error}"
