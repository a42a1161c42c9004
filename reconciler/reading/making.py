"""Plans that take longer to make than a request may: they go on in threads of their own, and whoever asked asks again.

Each process knows those that it took up, and the ends of the last `KEPT`; a process that ends forgets them. The plans themselves are stored as all are.
"""

import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread

from reconciler.errors import Refused, RetryLater
from reconciler.reading.call import Call
from reconciler.reading.paging import Document
from reconciler.reading.plan_seen import PlanDocument, summed
from reconciler.store.plans import plan_row
from reconciler.wiring import Installation

WITHIN_S, AGAIN_WITHIN_S = 5.0, 2.0
"""How long a request waits for its plan: the first one, and those that ask again."""
AT_ONCE, OF_ONE, KEPT = 4, 2, 100
"""Plans in the making, those of one identity, and requests that are remembered."""


class PlanRequest(Document, frozen=True, kw_only=True):
    """A plan that is being made yet. Who asked for it waits for it by sending `request` the same way."""

    request: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Making:
    identity: str
    source: str
    row: "Future[int]" = field(default_factory=Future)


_known: dict[str, _Making] = {}
_lock = Lock()


def made(call: Call, source: str, work: Callable[[Installation], int]) -> PlanDocument | PlanRequest:
    """The plan in the row that `work` gives, or if that takes more than `WITHIN_S` how to ask for it again. Raises what it raises, and `RetryLater` if too many
    are being made."""
    making = _Making(identity=call.identity, source=source)
    name = _taken(making)
    Thread(target=_run, args=(making, call.installation.apart(), work), name=f"plan-{name}", daemon=True).start()
    return _waited(call, name, making, WITHIN_S)


def again(call: Call, name: str) -> PlanDocument | PlanRequest:
    """The plan that this caller has asked for before, or that it is being made yet. Raises what making it has raised, and `Refused` where there is none."""
    with _lock:
        making = _known.get(name)
    sight = call.sight
    if making is None or making.identity != call.identity or not (sight.some(making.source) if making.source else sight.whole("")):
        hint = "the server may have been started anew since: look at the list of plans, or ask once more"
        raise Refused("nobody asked for such a plan", hint=hint, code="no-request")
    return _waited(call, name, making, AGAIN_WITHIN_S)


def _waited(call: Call, name: str, making: _Making, within_s: float) -> PlanDocument | PlanRequest:
    try:
        making.row.exception(within_s)
    except TimeoutError:
        return PlanRequest(request=name)
    return _document(call, making)


def _taken(making: _Making) -> str:
    """The name of a new request. Raises `RetryLater`."""
    with _lock:
        at_work = Counter(one.identity for one in _known.values() if not one.row.done())
        if at_work.total() >= AT_ONCE or at_work[making.identity] >= OF_ONE:
            raise RetryLater("too many plans are being made", after_s=10, hint="try again when one of them is made", code="busy")
        ended = [name for name, one in _known.items() if one.row.done()]
        for name in ended[: max(0, len(_known) + 1 - KEPT)]:
            del _known[name]
        name = secrets.token_hex(8)
        _known[name] = making
        return name


def _run(making: _Making, installation: Installation, work: Callable[[Installation], int]) -> None:
    try:
        row = work(installation)
    except BaseException as error:  # noqa: BLE001 - raised for whoever asked
        making.row.set_exception(error)
    else:
        making.row.set_result(row)
    finally:
        installation.close_own()


def _document(call: Call, making: _Making) -> PlanDocument:
    row = making.row.result()
    with call.installation.store.read() as connection:
        seen = summed(connection, call, plan_row(connection, row))
    if seen is None:
        raise Refused("the plan says nothing of what you may see", hint="nothing of it changes there", code="nothing-seen")
    return seen
