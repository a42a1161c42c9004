"""The log of a run by host and step, wherever it is: lines after one with a number, so that whoever asks again and again follows it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import msgspec

from reconciler.reading.call import Call
from reconciler.reading.outline import Kept
from reconciler.reading.paging import MOST_NUMBER, Ask, Document, Limit, Step
from reconciler.reading.runs import RunDocument, found
from reconciler.report.parts import LinePart
from reconciler.report.text import printable
from reconciler.store.archive import Line, archive_of, load_archive, log_after, newest_lines
from reconciler.store.engine import Connection
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
        wanted = _wanted(connection, call, run, ask, whole=document.whole)
        for line in lines.after(ask.after):
            if len(kept) == ask.limit or number == MOST_READ or used > MOST_BYTES:
                return Log(run=document, lines=kept, after=last, more=True, missing=lines.missing, asked=_asked(ask))
            number, last = number + 1, line.id
            if wanted(line):
                kept.append(line_part(line))
                used += len(line.text)
    return Log(run=document, lines=kept, after=last, more=False, missing=lines.missing, asked=_asked(ask))


def newest(connection: Connection, call: Call, run: JournalRun, *, whole: bool) -> list[LinePart]:
    """The newest lines of those that the caller sees."""
    lines = _Lines(call, connection, run)
    wanted = _wanted(connection, call, run, LogAsk(), whole=whole)
    return [line_part(line) for line in lines.newest(TAIL if whole else AT_ONCE) if wanted(line)][-TAIL:]


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

    def after(self, number: int) -> Iterator[Line]:
        if archived := self._archived():  # the run has ended: what is left in the table are a few lines
            lines = {*archived, *log_after(self._connection, self._run.id, 0, MOST_READ)}
            yield from sorted(line for line in lines if line.id > number)
            return
        while part := log_after(self._connection, self._run.id, number, AT_ONCE):
            yield from part
            number = part[-1].id

    def newest(self, most: int) -> Sequence[Line]:
        found = newest_lines(self._connection, self._run.id, most)
        return found if found or not self._name else list(self._archived())[-most:]


def _wanted(connection: Connection, call: Call, run: JournalRun, ask: LogAsk, *, whole: bool) -> Callable[[Line], bool]:
    """Which lines are shown: those of the step and host that were asked for, of what the caller sees. A line about all of a run has the number 0, as the first
    step does: who does not see all of the run is shown it if it begins with a change that he sees."""
    seen = None if whole else _Seen(connection, call, run)
    of_host = _of_host(connection, run, ask.host) if ask.host else None
    host = ask.host.lower()

    def wanted(line: Line) -> bool:
        if ask.step >= 0 and line.step != ask.step:
            return False
        if of_host is not None and host not in line.text.lower() and line.step not in of_host:
            return False
        return seen is None or seen.line(line)

    return wanted


def _of_host(connection: Connection, run: JournalRun, host: str) -> frozenset[int]:
    """The steps of which every change is of addresses with this text."""
    query = "SELECT step FROM item WHERE run = ? GROUP BY step HAVING sum(CASE WHEN lower(address) LIKE ? ESCAPE '/' THEN 0 ELSE 1 END) = 0"
    return frozenset(step for (step,) in connection.rows(query, (run.id, within(host))))


class _Seen:
    """The lines that somebody sees who does not see all of a run."""

    def __init__(self, connection: Connection, call: Call, run: JournalRun) -> None:
        sight = call.sight
        self._steps: set[int] = set()
        self._first: set[str] = set()
        for tenant in tenants_of_run(connection, run.id):
            if not sight.some_of(run.source, tenant):
                continue
            query = "SELECT item.step, item.address FROM step JOIN item ON item.run = step.run AND item.step = step.seq WHERE step.run = ? AND step.tenant = ?"
            rows = list(connection.rows(query, (run.id, tenant)))
            unseen = {step for step, address in rows if not sight.address(run.source, address)}
            self._steps |= {step for step, _ in rows} - unseen
            self._first |= {address for step, address in rows if step == 0 and sight.address(run.source, address)}

    def line(self, line: Line) -> bool:
        if line.step != 0:
            return line.step in self._steps
        _, _, rest = line.text.partition(" ")
        return any(rest.startswith(f"{address}:") for address in self._first)
