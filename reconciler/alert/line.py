"""What one receiver of a channel has been told, and what it is to be told next: pure functions of this, the conditions, the channel and the time.

A round is `follow` (what opened, lasts and is over), `due` (the message to send now, if any), `trying` (to be stored before it is sent), and then
`told` or `failed`. Whoever dies in between has stored that it was tried: it is sent again, and what may have been told is never forgotten
before its end was told too. Times are seconds since the epoch, by a clock that may step back: what lies ahead of it counts as long ago.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition

FAILED_S, FAILED_MOST_S = 5.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One condition to one receiver: `at` when it was first to be told, `tried` whether that may have been, `told_at` when it last was for certain and
    nothing since then says otherwise, `over_at` when it ended, as far as these have happened."""

    condition: Condition
    at: float
    tried: bool = False
    told_at: float | None = None
    over_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How things stand with a receiver. By key what is open, or over and not told to be. `sent`: when messages were, as far as the limit goes;
    `unsaid`: how many conditions came and went untold; `failures` in a row, with the last `error`, and when it is tried again."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sent: tuple[float, ...] = ()
    unsaid: int = 0
    failures: int = 0
    retry_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What to tell at once. `open`: the topics that are still open when it is told; `unsaid` as in `Line`; `after`: when the message before was told."""

    opened: tuple[Condition, ...] = ()
    still: tuple[Condition, ...] = ()
    over: tuple[Condition, ...] = ()
    open: frozenset[str] = frozenset()
    unsaid: int = 0
    after: float = field(default=0.0, compare=False)

    def topics(self) -> dict[str, "Message"]:
        """The message of each topic by itself."""
        names = dict.fromkeys(item.topic for item in (*self.opened, *self.still, *self.over))
        return {
            name: replace(
                self,
                opened=tuple(item for item in self.opened if item.topic == name),
                still=tuple(item for item in self.still if item.topic == name),
                over=tuple(item for item in self.over if item.topic == name),
                open=self.open & {name},
            )
            for name in names
        }


def follow(line: Line, conditions: Iterable[Condition], now: float) -> Line:
    """The line, with what is so now. What comes and goes before anybody was told is only counted."""
    wanted = {condition.key: condition for condition in conditions}
    entries: dict[str, Entry] = {}
    unsaid = line.unsaid
    for key, entry in line.entries.items():
        if key in wanted:
            entries[key] = replace(entry, condition=wanted[key], over_at=None)
        elif entry.tried:
            entries[key] = entry if entry.over_at is not None else replace(entry, over_at=now)
        else:
            unsaid += 1
    entries |= {key: Entry(condition=condition, at=now) for key, condition in wanted.items() if key not in entries}
    return line if entries == line.entries and unsaid == line.unsaid else replace(line, entries=entries, unsaid=unsaid)


def due(line: Line, channel: Channel, now: float) -> Message | None:
    """What is to be told now: all that is new or over once the first of it has waited for `group`, and what is still so after `repeat`. None if there is
    nothing, the limit is reached, or the receiver failed a moment ago."""
    entries = line.entries.values()
    fresh = [entry for entry in entries if entry.told_at is None and entry.over_at is None]
    over = [entry for entry in entries if entry.over_at is not None]
    told = [entry for entry in entries if entry.told_at is not None and entry.over_at is None]
    reminded = [entry for entry in told if channel.repeat_s is not None and _past(entry.told_at or 0.0, channel.repeat_s, now)]
    waiting = [entry.at for entry in fresh] + [entry.over_at or 0.0 for entry in over]
    grouped = any(_past(at, channel.group_s, now) for at in waiting)
    resting = line.failures > 0 and now < line.retry_at <= now + FAILED_MOST_S
    limited = sum(not _past(at, channel.per_s, now) for at in line.sent) >= channel.messages
    if resting or limited or not (grouped or reminded):
        return None
    return Message(
        opened=_sorted(fresh),
        still=_sorted(reminded),
        over=_sorted(over),
        open=frozenset(entry.condition.topic for entry in entries if entry.over_at is None),
        unsaid=line.unsaid,
        after=max(line.sent, default=0.0),
    )


def trying(line: Line, message: Message) -> Line:
    """The line before a message is sent: from now on its conditions may have been told. One whose end may have been is to be told again if it comes back."""
    entries = dict(line.entries)
    entries |= {item.key: replace(entries[item.key], tried=True) for item in message.opened}
    entries |= {item.key: replace(entries[item.key], told_at=None) for item in message.over}
    return replace(line, entries=entries)


def told(line: Line, message: Message, channel: Channel, now: float) -> Line:
    """The line after a message arrived. What began again while its end was being told is new."""
    entries = dict(line.entries)
    for item in (*message.opened, *message.still):
        if item.key in entries:
            entries[item.key] = replace(entries[item.key], tried=True, told_at=now)
    for item in message.over:
        entry = entries.pop(item.key, None)
        if entry is not None and entry.over_at is None:
            entries[item.key] = Entry(condition=entry.condition, at=now)
    sent = (*(at for at in line.sent if not _past(at, channel.per_s, now)), now)
    return Line(entries=entries, sent=sent, unsaid=max(line.unsaid - message.unsaid, 0))


def failed(line: Line, error: str, now: float) -> Line:
    """The line after a message did not arrive, or may not have: later again, and later each time."""
    wait_s = min(FAILED_S * 2.0 ** min(line.failures, 20), FAILED_MOST_S)
    return replace(line, failures=line.failures + 1, retry_at=now + wait_s, error=error)


def _past(since: float, wait_s: float, now: float) -> bool:
    return now - since >= wait_s or since > now


def _sorted(entries: Iterable[Entry]) -> tuple[Condition, ...]:
    return tuple(sorted((entry.condition for entry in entries), key=lambda item: (item.topic, item.since, item.subject)))
