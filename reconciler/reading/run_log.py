"""The log of a run by host and step, wherever it is: lines after one with a number, so that whoever asks again and again follows it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import msgspec

from reconciler.reading.call import Call
from reconciler.reading.kept import Kept
from reconciler.reading.live import View, view_of
from reconciler.reading.paging import MOST_NUMBER, Ask, Document, Limit, Step
from reconciler.reading.runs import RunDocument, found
from reconciler.report.parts import LinePart
from reconciler.report.text import printable
from reconciler.store.archive import Line, archive_of, load_archive, log_after, newest_lines
from reconciler.store.engine import Connection
from reconciler.store.live import addresses_of_steps
from reconciler.store.runs import JournalRun, tenants_of_run
from reconciler.store.sql import within

MOST_READ, AT_ONCE = 20_000, 2_000
"""Lines that are looked at for one answer, and that are read at once."""
MOST_CHARS, MOST_BYTES = 2_000, 150_000
"""Of a line, and of the texts of an answer."""
TAIL = 20
Number = Annotated[int, msgspec.Meta(ge=0, le=MOST_NUMBER, description="The number of a line: only those after it.")]


class LogAsk(Ask, frozen=True, kw_only=True):
    """Only lines of one step (-1: of all), or about addresses that have `host` in them."""

    after: Number = 0
    limit: Limit = 200
    step: Step = -1
    host: str = ""


class Log(Document, frozen=True, kw_only=True):
    """`after`: ask again with it for what comes next. `more`: there is some already. `missing`: a part is in an archive that is not there."""

    run: RunDocument
    lines: list[LinePart]
    after: int
    more: bool
    missing: bool = False
    asked: dict[str, str]


def log(call: Call, ask: LogAsk) -> Log:
    """Some lines of a run's log, as far as the caller sees what they are about."""
    run, document = found(call)
    kept: list[LinePart] = []
    number, last, used = 0, ask.after, 0
    with call.installation.store.read() as connection:
        lines = _Lines(call, connection, run)
        view, wanted = _view(connection, call, run), _wanted(connection, run, ask)
        for line, seen in lines.after(ask.after, view):
            if len(kept) == ask.limit or number == MOST_READ or used > MOST_BYTES:
                return Log(run=document, lines=kept, after=last, more=True, missing=lines.missing, asked=_asked(ask))
            number, last = number + 1, line.id
            if seen and wanted(line):
                kept.append(line_part(line))
                used += len(line.text)
    return Log(run=document, lines=kept, after=last, more=False, missing=lines.missing, asked=_asked(ask))


def newest(connection: Connection, call: Call, run: JournalRun, *, whole: bool) -> list[LinePart]:
    """The newest lines of those that the caller sees."""
    lines = _Lines(call, connection, run).newest(TAIL if whole else AT_ONCE)
    return [line_part(line) for line, seen in _told(connection, run, _view(connection, call, run), lines) if seen][-TAIL:]


def _view(connection: Connection, call: Call, run: JournalRun) -> View:
    return view_of(call.sight, run.source, tenants_of_run(connection, run.id))


def _told(connection: Connection, run: JournalRun, view: View, lines: Sequence[Line]) -> Iterator[tuple[Line, bool]]:
    """Each line, and whether it is seen."""
    addresses = {} if view.whole else addresses_of_steps(connection, run.id, {line.step for line in lines})
    return ((line, view.sees_line(line, addresses.get(line.step, ()))) for line in lines)


def line_part(line: Line) -> LinePart:
    """A line as it is shown."""
    return LinePart(id=line.id, step=line.step, at=line.at, text=printable(line.text)[:MOST_CHARS])


def _asked(ask: LogAsk) -> dict[str, str]:
    return ({"step": str(ask.step)} if ask.step >= 0 else {}) | ({"host": ask.host} if ask.host else {})


_archives: Kept[Sequence[Line]] = Kept(200_000, len)
"""By name, which has a digest of what is in it."""


class _Lines:
    """The lines of a run: of the archive that it names, if it does, then of the table."""

    def __init__(self, call: Call, connection: Connection, run: JournalRun) -> None:
        self._installation, self._connection, self._run = call.installation, connection, run
        self._name = archive_of(connection, run.id)
        self.missing = False

    def _archived(self) -> Sequence[Line]:
        try:
            return _archives.get(self._name, self._loaded) if self._name else ()
        except LookupError:
            self.missing = True
            return ()

    def _loaded(self) -> Sequence[Line]:
        found = load_archive(self._installation.blobs, self._name)
        if found is None:
            raise LookupError(self._name)
        return found

    def after(self, number: int, view: View) -> Iterator[tuple[Line, bool]]:
        """Those after one with a number, and whether each is seen."""
        for part in self._parts(number):
            yield from _told(self._connection, self._run, view, part)

    def _parts(self, number: int) -> Iterator[Sequence[Line]]:
        if archived := self._archived():  # the run has ended: what is left in the table are a few lines
            lines = {*archived, *log_after(self._connection, self._run.id, 0, MOST_READ)}
            left = sorted(line for line in lines if line.id > number)
            yield from (left[start : start + AT_ONCE] for start in range(0, len(left), AT_ONCE))
            return
        while part := log_after(self._connection, self._run.id, number, AT_ONCE):
            yield part
            number = part[-1].id

    def newest(self, most: int) -> Sequence[Line]:
        found = newest_lines(self._connection, self._run.id, most)
        return found if found or not self._name else list(self._archived())[-most:]


def _wanted(connection: Connection, run: JournalRun, ask: LogAsk) -> Callable[[Line], bool]:
    """Which lines are of the step and host that were asked for."""
    of_host = _of_host(connection, run, ask.host) if ask.host else None
    host = ask.host.lower()

    def wanted(line: Line) -> bool:
        if ask.step >= 0 and line.step != ask.step:
            return False
        return of_host is None or host in line.text.lower() or line.step in of_host

    return wanted


def _of_host(connection: Connection, run: JournalRun, host: str) -> frozenset[int]:
    """The steps of which every change is of addresses with this text."""
    query = "SELECT step FROM item WHERE run = ? GROUP BY step HAVING sum(CASE WHEN lower(address) LIKE ? ESCAPE '/' THEN 0 ELSE 1 END) = 0"
    return frozenset(step for (step,) in connection.rows(query, (run.id, within(host))))
