"""What a run means for one host: an observation after a check, an outcome after a real run.

In: what the listener heard, and how the run ended. Out: `Unknown` unless the whole playbook was seen to its end on this host; `PARTIAL`
as soon as anything had changed before the end. Must not: take silence for success.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.drivers.ansible.blind import REALLY_RUNS
from reconciler.drivers.ansible.events import Ended, Listener, Result, Story, keyed
from reconciler.drivers.ansible.fields import bounded, fields, proposal_digest
from reconciler.drivers.ansible.run import End
from reconciler.types.observation import Observation, Present, Proposed, Unknown
from reconciler.types.outcome import Outcome, Status
from reconciler.types.resource import Resource

OUTPUT_LIMIT = 2000
CHECK_FAILED = "check-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A run that is over: all that was heard of it, how it ended, and its playbook's path in the repository."""

    listener: Listener
    end: End
    playbook: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRun:
    """Nothing was run for a resource: a stable code, and why."""

    code: str
    reason: str

    @property
    def outcome(self) -> Outcome:
        """Of a change: nothing has changed."""
        return Outcome(status=Status.CANCELLED if self.code == "cancelled" else Status.FAILED, error=self.reason)


def observed(heard: Heard | NotRun, host: str, desired: Resource, now: float, *, new: bool = False) -> Observation:
    """What check mode says of this host. A playbook that is `new` to it may need what its own tasks bring about: that its check fails somewhere is a blind
    spot then, not the end."""
    if isinstance(heard, NotRun):
        return Unknown(code=heard.code, reason=heard.reason, at=now)
    story = heard.listener.stories[host]
    trouble = _trouble(heard, story)
    if trouble is not None and not (new and trouble[0] == CHECK_FAILED):
        return Unknown(code=trouble[0], reason=trouble[1], at=now)
    proposed = fields((key, result.pieces) for key, result in keyed(story.results) if result.changed)
    blind = _blind_spots(heard, story)
    blind += (f"in check mode {trouble[1]}; what comes after it is not foreseen",) if trouble else ()
    if not proposed and not blind:
        return Present(spec=desired.spec, digest=desired.digest, at=now)
    return Proposed(fields=proposed, digest=proposal_digest(proposed), at=now, blind_spots=blind)


def ended(heard: Heard | NotRun, host: str, desired: Resource, now: float) -> Outcome:
    """How a real run ended on this host."""
    return heard.outcome if isinstance(heard, NotRun) else outcome(heard, host, Present(spec=desired.spec, digest=desired.digest, at=now))


def outcome(heard: Heard, host: str, seen: Present) -> Outcome:
    """Likewise, where `seen` is what is there if all went well."""
    story = heard.listener.stories[host]
    trouble = _trouble(heard, story)
    if trouble is None:
        return Outcome(status=Status.DONE, observation=seen)
    code, reason = trouble
    done = [result.name for result in story.results if result.partly or (result.changed and result.ended is not Ended.FAILED)]
    if done:
        return Outcome(status=Status.PARTIAL, error=f"{reason}; changed before that: {_named(done)}")
    return Outcome(status=Status.CANCELLED if code == "cancelled" else Status.FAILED, error=reason)


def _trouble(heard: Heard, story: Story) -> tuple[str, str] | None:
    """Why the playbook did not come to its end on this host: a stable code and a reason."""
    # Also where the playbook ignores it, or clears it and goes on: what the task did, or would do, nobody knows.
    lost = _last(story, Ended.UNREACHABLE)
    if story.dark or lost is not None:
        return "unreachable", f"unreachable: {lost.message if lost else 'no message'}"
    last = _last(story, Ended.FAILED)
    if last is not None and story.failed is not False:
        return CHECK_FAILED if heard.listener.check else "failed", f"the task {last.name} ({last.where}) failed: {last.message}"
    if heard.end is End.CANCELLED:
        return "cancelled", f"the run was cancelled{_reached(heard, story)}"
    if heard.end is End.TIMEOUT:
        return "timeout", f"the run took too long and was stopped{_reached(heard, story)}"
    return _unfinished(heard, story)


def _unfinished(heard: Heard, story: Story) -> tuple[str, str] | None:
    if heard.end is End.FULL:
        return "too-large", "the run wrote more to this machine's disk than a run may, and was stopped"
    if heard.end is End.BROKEN or not heard.listener.finished:
        said = bounded("\n".join(_errors(heard.listener.output)), OUTPUT_LIMIT)
        return "playbook-broken", f"{heard.playbook} could not be run: {said or 'ansible-playbook said nothing'}"
    if story.failed:
        return CHECK_FAILED if heard.listener.check else "failed", "the play failed, and no event says where"
    if not story.results:
        return "not-targeted", f"no task of {heard.playbook} ran for this host; see its `hosts:` (it should say all) and the tags"
    if not story.complete and heard.listener.wrapper is None:
        return "cut-short", f"other hosts failed, and AWX does not tell whether {heard.playbook} came to its end here"
    if not story.complete:
        return "cut-short", f"a play of {heard.playbook} was stopped because of other hosts"
    return None


def _last(story: Story, ended: Ended) -> Result | None:
    return next((result for result in reversed(story.results) if result.ended is ended), None)


def _reached(heard: Heard, story: Story) -> str:
    """How far it came. Ending a run ends all that belongs to it here; sshd does not end what it runs when its client goes."""
    reached = f" after the task {story.results[-1].name}" if story.results else " before its first task was done"
    return reached if heard.listener.check else f"{reached}; a task that was under way may go on on the host"


def _errors(output: Sequence[str]) -> Sequence[str]:
    """From the first line that is an error on; everything if there is none."""
    first = next((index for index, line in enumerate(output) if "ERROR" in line), 0)
    return [line for line in output[first:] if line.strip()]


def _blind_spots(heard: Heard, story: Story) -> tuple[str, ...]:
    """What really runs while planning comes first: where room is short, it is what must be read."""
    marked = heard.listener.wrapper is not None or heard.listener.marked
    spots = [(reason, f"{result.name} ({result.where}): {reason}") for result in story.results for reason in result.blind]
    told = [text for reason, text in sorted(spots, key=lambda spot: spot[0] != REALLY_RUNS) if marked or reason != REALLY_RUNS]
    rescued = [result for result in story.results if result.ended is Ended.FAILED and story.failed is False]
    told += [f"{result.name} ({result.where}): it fails in check mode and is rescued" for result in rescued]
    told += [f"the playbook also changes {host}, which is not a host of this run" for host in sorted(heard.listener.strangers)]
    if heard.listener.check and not marked:
        told.append(
            "AWX does not mark tasks that really run while planning: add ANSIBLE_CHECK_MODE_MARKERS=1 to its extra environment variables"
        )
    return tuple(dict.fromkeys(told))


def _named(names: Sequence[str], most: int = 10) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")
