"""Whether a step may begin: pauses by a person's word, and maintenance windows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.gate.windows import Closed, Subject, Window, closed
from reconciler.scope import in_scope
from reconciler.types.change import WORLD, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing begins in a scope for a while. `source` is empty for every fleet; times are seconds since the epoch."""

    id: str
    source: str
    scope: str
    identity: str
    at: float
    until: float
    reason: str

    def is_about(self, source: str, subject: Subject) -> bool:
        """Whether it has a say in a change of a source."""
        scope = "" if self.scope == "fleet" else self.scope
        return self.source in ("", source) and (in_scope(subject.address, scope) or in_scope(subject.group, scope))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """All that is in force, and what has run out not long ago: a clock may step back. `windows` by source; `overridden`: source and address of windows that do
    not count, with the time until when; `kept`: windows by run, as they were when it began; `version`: which state of them it is."""

    windows: Mapping[str, Sequence[Window]]
    pauses: Sequence[Pause] = ()
    overridden: Mapping[tuple[str, str], float] = field(default_factory=dict)
    kept: Mapping[str, Sequence[Window]] = field(default_factory=dict)
    version: str = ""

    def paused(self, now: float) -> list[Pause]:
        """The pauses that count now."""
        return [pause for pause in self.pauses if now < pause.until]

    @property
    def empty(self) -> bool:
        """Whether nothing is ever closed."""
        return not self.pauses and not self.kept and not any(self.windows.values())

    def by_labels(self, source: str, run: str) -> bool:
        """Whether a window that has a say in changes of a source, in a run, chooses hosts by their labels."""
        return any(window.labels for window in (*self.windows.get(source, ()), *self.kept.get(run, ())))

    def closed(self, source: str, subject: Subject, now: float, run: str = "") -> Closed | None:
        """Why a change of a source, in a run, may not begin now; None if it may."""
        for pause in self.paused(now):
            if pause.is_about(source, subject):
                reason = f"{pause.scope} is paused by {pause.identity}: {pause.reason}"
                return Closed(by=f"pause/{pause.id}", reason=reason, next=f"octofleet resume {pause.id}", until=pause.until)
        without = [address for (of, address), until in self.overridden.items() if of == source and now < until]
        as_now = closed(self.windows.get(source, ()), subject, now, without)
        return as_now or closed(self.kept.get(run, ()), subject, now, without)


def subjects_of(change: Change, labels: Sequence[Mapping[str, str]] = ()) -> list[Subject]:
    """A change, as gates are asked about it: at each of its places, with each of the labels that its host has or had."""
    return [
        Subject(address=address, group=group, risk=change.risk, labels=found, host=change.group)
        for address, group in change.places
        for found in labels or ({},)
    ]


def is_gated(change: Change) -> bool:
    """Whether gates of steps have a say in it: not in what is Octofleet's own or changes the record alone, as no machine notices."""
    return change.action in WORLD and not change.address.startswith("fleet/")
