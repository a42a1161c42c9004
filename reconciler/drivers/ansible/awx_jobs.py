"""Jobs of AWX under way and over: how they stand, their end, and what was heard of them.

In: a client and a job's id. Out: `Heard`, from the same events in the same shape as of a run on this machine; a workflow job's is joined from those of the
jobs that it ran. Must not: take a job for done whose events have not all come.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.drivers.ansible.awx_client import AwxClient, Found
from reconciler.drivers.ansible.events import Ended, Listener, Result, Story
from reconciler.drivers.ansible.fields import Clean
from reconciler.drivers.ansible.run import End
from reconciler.drivers.ansible.stream import Endless
from reconciler.drivers.ansible.telling import Telling
from reconciler.drivers.ansible.verdict import Heard
from reconciler.drivers.driver import Context
from reconciler.errors import Permanent, RetryLater
from reconciler.types.task import PlayTold

PROJECT = Path("/runner/project")
"""Where AWX has the repository in a job."""
POLL_S, MOST_POLL_S = 1.0, 5.0
CANCEL_S = 60.0
CALL_LEFT_S = 5.0
"""What is kept of a call's time for the end of a job that has to be stopped."""
OPEN = frozenset({"new", "pending", "waiting", "running"})
STATUSES = OPEN | {"successful", "failed", "error", "canceled"}
JOB, WORKFLOW = "jobs", "workflow_jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A job that is over, or a workflow job: `jobs` are those that ran, in their order."""

    whole: Found
    jobs: Sequence[Found]


def over(client: AwxClient, kind: str, number: int) -> Ran | None:
    """A job with all that it ran; None while it goes on, or events are still on their way."""
    whole = client.get(f"{kind}/{number}/")
    if _status(client, whole) in OPEN:
        return None
    jobs = [whole] if kind == JOB else [client.get(f"jobs/{found}/") for found in sorted(_spawned(client, number))]
    return None if any(job.get("event_processing_finished") is False for job in jobs) else Ran(whole=whole, jobs=jobs)


def _spawned(client: AwxClient, workflow: int) -> Iterator[int]:
    """The jobs of a workflow job's nodes, and of workflows in it. Nodes that fetch or approve something run no playbook on hosts."""
    for node in client.every(f"{WORKFLOW}/{workflow}/workflow_nodes/", order_by="id"):
        job = (node.get("summary_fields") or {}).get("job") or {}
        if job.get("type") == "job":
            yield int(job["id"])
        elif job.get("type") == "workflow_job":
            yield from _spawned(client, int(job["id"]))


def waited(client: AwxClient, job: int, context: Context, timeout_s: float) -> End | None:
    """Until its end and its last event; why it was stopped, if it was. A moment in which AWX is away is waited out."""
    until, pause_s = min(context.deadline - CALL_LEFT_S, time.monotonic() + timeout_s + CANCEL_S), POLL_S
    while True:
        with suppress(RetryLater):
            if over(client, JOB, job) is not None:
                return None
        if context.halted or time.monotonic() >= until:
            cancelled(AwxClient(client.settings, time.monotonic() + CANCEL_S), JOB, job)
            return End.CANCELLED if context.halted else End.TIMEOUT
        time.sleep(min(pause_s, max(0.0, until - time.monotonic())))
        pause_s = min(pause_s * 1.5, MOST_POLL_S)


def stop(client: AwxClient, kind: str, job: int) -> bool:
    """Have AWX cancel a job. False if it has ended by itself: then AWX answers 405."""
    try:
        client.post(f"{kind}/{job}/cancel/", {})
    except Permanent:
        if client.get(f"{kind}/{job}/cancel/").get("can_cancel"):
            raise
        return False
    return True


def cancelled(client: AwxClient, kind: str, job: int) -> None:
    """Cancel a job, and wait until it has really ended."""
    if stop(client, kind, job):
        while client.get(f"{kind}/{job}/").get("status") in OPEN:
            time.sleep(POLL_S)


def _status(client: AwxClient, job: Found) -> str:
    status = str(job.get("status", ""))
    if status not in STATUSES:
        raise client.permanent("tells of a job in a state that is not known", "update Octofleet", "awx-answer")
    return status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads jobs that are over, from their first event on. `part`: which run of its call it is."""

    hosts: Sequence[str]
    title: str
    tenant: str
    redact: Clean
    context: Context
    check: bool
    part: int = 0

    def heard(self, client: AwxClient, ran: Ran, end: End | None = None) -> Heard:
        """All that was heard; the context is told of tasks of real runs, and of hosts, once everything has been read: a job that cannot be read to its end now
        is read again. `end`: how it ended, if we ended it."""
        lines: list[str] = []
        plays: list[PlayTold] = []
        telling = None if self.check else Telling(tenant=self.tenant, told=plays.append, part=self.part, keep=client.settings.keep)
        parts = [self._job(client, job, telling, lines.append) for job in ran.jobs]
        if telling is not None:
            telling.close()
        self._tell(lines, plays, ran.whole)
        for part in parts:
            self.context.met(part.listener.met.told(self.tenant, time.time()))
        if len(ran.jobs) == 1 and ran.jobs[0] is ran.whole:
            return replace(parts[0], end=end or parts[0].end)
        return joined(self.listener(), parts, ran.whole, self.title)

    def listener(self, telling: Telling | None = None, log: Callable[[str], None] = lambda line: None) -> Listener:
        """One for a job."""
        return Listener(
            hosts=self.hosts, project=PROJECT, wrapper=None, told_as="", check=self.check, redact=self.redact, log=log, telling=telling
        )

    def _tell(self, lines: Sequence[str], plays: Sequence[PlayTold], whole: Found) -> None:
        """What was heard of a real run. AWX knows how long it took."""
        took = whole.get("elapsed")
        for line in lines if not self.check else ():
            self.context.log(line)
        for play in plays:
            self.context.told(replace(play, seconds=float(took)) if play.totals and isinstance(took, int | float | str) else play)

    def _job(self, client: AwxClient, job: Found, telling: Telling | None, log: Callable[[str], None]) -> Heard:
        listener = self.listener(telling, log)
        end = _end(job)
        try:
            for event in client.every(f"jobs/{job['id']}/job_events/", order_by="counter", no_truncate=1):
                listener(event)
        except Endless:
            end = End.BROKEN
        listener.close()
        _explained(listener, job)
        return Heard(listener=listener, end=end, playbook=self.title)


def joined(whole: Listener, parts: Sequence[Heard], workflow: Found, title: str) -> Heard:
    """A workflow as one run. A host on which one of its jobs failed has failed, whatever the workflow does about that; and none has come to the end
    of a workflow that AWX does not call successful."""
    listeners = [part.listener for part in parts]
    for host in whole.stories:
        mine = [part.stories[host] for part in listeners if part.stories[host].results]
        whole.stories[host] = Story(
            results=[result for story in mine for result in _settled(story)],
            failed=any(story.failed for story in mine) if all(story.failed is not None for story in mine) else None,
            dark=any(story.dark for story in mine),
            complete=workflow["status"] == "successful" and all(story.complete for story in mine),
        )
    whole.finished = all(listener.finished for listener in listeners)
    whole.output = [line for listener in listeners for line in listener.output]
    whole.strangers = set[str]().union(*(listener.strangers for listener in listeners))
    _explained(whole, workflow)
    end = _end(workflow)
    fell = any(story.failed or story.dark for listener in listeners for story in listener.stories.values())
    broken = end is End.FINISHED and workflow["status"] == "failed" and not fell
    return Heard(listener=whole, end=End.BROKEN if broken else end, playbook=title)


def _settled(story: Story) -> list[Result]:
    """Its results; failures that its own job got over are no failures of the whole."""
    over_it = story.failed is False
    return [replace(one, ended=Ended.IGNORED) if over_it and one.ended is Ended.FAILED else one for one in story.results]


def _explained(listener: Listener, job: Mapping[str, object]) -> None:
    if said := "\n".join(str(text) for text in (job.get("job_explanation"), job.get("result_traceback")) if text):
        listener.told(f"ERROR: AWX says of job {job['id']}: {said}")


def _end(job: Found) -> End:
    if job["status"] == "canceled":
        return End.CANCELLED
    if "due to timeout" in str(job.get("job_explanation", "")):
        return End.TIMEOUT
    return End.BROKEN if job["status"] == "error" else End.FINISHED
