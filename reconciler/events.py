"""What happens, by name: each event is a line of the log, and whatever else listens (metrics) hears of it too.

In: `happened("lease-lost", run=..., step=...)` where it happens. Out: one structured line on stderr if its level is logged, and a call to every
listener. Costs next to nothing where nobody listens. Events of a transaction that may not be committed are `held` until it is.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from reconciler.logs import enabled, logger

EVENTS: Mapping[str, tuple[str, str]] = {
    "run-begun": ("info", "A run was journaled; workers may take its steps."),
    "run-ended": ("info", "The last step of a run ended, or the run was cancelled; `state` says how."),
    "attempt-ended": ("info", "One lease of a step is over; `result` says how, with counts of the changes that ended in it."),
    "change-ended": ("debug", "A change ended with `status`."),
    "journal-committed": ("debug", "Entries of the journal became durable together."),
    "lease-lost": ("warning", "This worker's lease of a step was taken away; what it did is not written by it."),
    "playbook-ended": ("info", "A playbook run has ended; how many results of tasks it had, by how they ended."),
    "takeover": ("warning", "This worker took away the leases of another one (`gone`) that is dead or was silent for too long."),
    "step-let-go": ("warning", "A step was left while the database was away; its lease runs out or is given back."),
    "worker-begun": ("info", "A worker lives and may take steps."),
    "worker-ended": ("info", "A worker takes no more steps and has given back its leases."),
    "worker-leave-failed": ("warning", "A worker ended and could not say so; others see that when its lease runs out."),
    "ansible-requirements-installed": (
        "info",
        "Collections and roles of a project's requirements were installed as the cache's `entry`; `number` of them.",
    ),
    "ansible-cache-changed": ("warning", "The cache's `entry` was not as it was installed; it is removed, and installed anew."),
    "lint-failed": ("warning", "ansible-lint could not look at a project; `project`, `why`."),
    "database-away": ("warning", "The database does not answer; work waits for it."),
    "database-back": ("info", "The database answers again, after `away_s` seconds."),
    "database-still-away": ("warning", "Once a minute while the database does not answer; `away_s` seconds by now."),
    "installation-armed": ("info", "A machine installs `generation` when it boots from the network; `run`, `attempt`."),
    "installation-claimed": ("info", "An armed machine was given its boot script; `address`."),
    "installation-stage": ("info", "An installer said how it goes on; `stage`, `state`."),
    "installation-ended": ("info", "An installation ended without a word of its installer; `state` says how."),
    "boot-decision": ("info", "A machine was told what to boot; `decision`, `why`, what it said of itself."),
    "discovered": (
        "info",
        "A machine that nobody knows was proposed as a host, by a branch; `tenant`, `host`, `branch`, what it said of itself.",
    ),
    "discovered-pull": ("info", "A pull request was opened for it; `tenant`, `host`, `url`."),
    "discovery-refused": ("warning", "A machine that nobody knows was not proposed, or no pull request could be opened; `why`, `hint`."),
    "menu-broken": (
        "warning",
        "A Fleet's boot menu cannot be written for a loader, and the machine boots from its disk; `fleet`, `why`, `loader`.",
    ),
    "ansible-not-isolated": ("warning", "Playbooks run without isolation, as bubblewrap does not work here; once in a process; `why`."),
    "boot-refused": ("warning", "A request to the boot server was refused; `why`, `address`, `path` without its token."),
    "repository-failed": ("warning", "A followed repository could not be looked at or planned; it is tried again later."),
    "plan-waits": ("warning", "The plan of a followed repository waits for approval; `next` gives it."),
    "plan-refused": ("warning", "The plan of a followed repository may not be applied; `next` says what to do."),
    "changes-superseded": ("info", "A newer commit wants otherwise what a run had not begun; that has ended."),
    "wait-expired": ("warning", "What waited for a person to promote it has ended, as nobody did in time; `changes` says how many."),
    "rolled-back": (
        "warning",
        "A run whose rollout stopped is taken back by itself, or left to a person; `how` (`reverted`, `proposed`, `left`), `branch`, `why`, `note`.",
    ),
    "operation-begun": ("info", "A scheduled operation was begun; `operation`, `due`, `run`."),
    "operation-waits": ("warning", "A scheduled operation is due and cannot be begun yet; `why`, `next`."),
    "operation-missed": ("warning", "A scheduled operation was not begun in its time; `why`."),
    "operation-failed": ("warning", "The operations of a repository could not be looked after. Once, and then once a minute."),
    "pull-failed": ("warning", "A pull request could not be looked at or planned; it is tried again later."),
    "command-heard": ("info", "A comment's command was worked on; `identity` said it, `answer` says what came of it."),
    "facts-not-kept": ("warning", "What `hosts` hosts said of themselves could not be kept; the run goes on."),
    "checks-failed": ("warning", "A drift schedule could not go on; it is tried again. Once, and then once a minute."),
    "hosts-checked": ("info", "A drift schedule looked at `hosts` hosts; `drifted` of them were last as recorded, and are not any more."),
    "round-failed": ("warning", "The loop could not go round; it goes on. Once, and then once a minute."),
    "prune-failed": ("warning", "What is old could not be let go; it is tried again tomorrow."),
    "index-reset": ("warning", "An index was damaged, and is made anew."),
    "queue-away": ("warning", "PostgreSQL's queue of jobs cannot be used. Once, and then once a minute."),
    "job-taken-over": ("warning", "A job of a process that is gone was made ready again."),
    "break-glass": ("warning", "Somebody went past a denial; `identity`, `denied` (the first thing that was), `reason`."),
    "audit-broken": (
        "warning",
        "The audit trail does not go on from the head that is kept outside: it was tampered with, or a backup restored.",
    ),
    "audit-head-failed": ("warning", "The head of the audit trail could not be kept outside; it is tried again later."),
    "alert-sent": ("info", "A receiver of an AlertChannel took a message; how much of it opened, was still so, and was over."),
    "alert-failed": ("warning", "A receiver of an AlertChannel did not take a message; it is sent again later."),
    "alerts-failed": ("warning", "Alerts could not be looked after; it goes on. Once, and then once a minute."),
    "delivery": ("debug", "A forge's delivery was answered; `result` says how, after `seconds`."),
    "delivery-refused": ("warning", "A delivery was refused, `why` and `error` say for what; once, and then once a minute."),
    "delivery-failed": ("warning", "A delivery could not be stored for a reason of its own; it was answered with 500."),
    "secret-missing": ("warning", "No secret of a forge's webhooks can be read now; its deliveries are answered with 503."),
    "forge-away": ("warning", "A forge does not answer or wants fewer calls; its queue waits. Once, and then once a minute."),
    "forge-denied": ("warning", "A forge refuses the token, or what it may do; somebody has to change that. Once."),
    "posted": ("debug", "A comment, a status or a reaction stands at a forge."),
    "posting-failed": ("warning", "A comment, a status or a reaction could not be posted; it is tried again later."),
    "polled": ("debug", "A forge was polled."),
    "poll-failed": ("warning", "A project at a forge could not be polled; it is tried again. Once, and then once a minute."),
    "request-failed": ("warning", "A request was answered with 500 for a reason that nobody foresaw; `route`, `error`."),
    "streams-failed": (
        "warning",
        "What is new of runs that somebody follows could not be read; it is tried again. Once, and then once a minute.",
    ),
    "picture-failed": (
        "warning",
        "The picture of the fleets could not be made anew; the one before is shown. Once, and then once a minute.",
    ),
    "sample-failed": ("warning", "How the fleets stand could not be noted for the chart; it goes on. Once, and then once a minute."),
    "tls-renewed": ("info", "The server shows a new certificate, valid `until`."),
    "tls-broken": ("warning", "The files of the server's certificate changed and are no pair; it shows the one before."),
    "dhcp-answered": ("debug", "The proxyDHCP told a machine what to load; `mac`, `architecture`, `file`, and where `to` it said so."),
    "loader-missing": ("warning", "A machine asked for a boot loader that is not installed here; once for each `name`."),
    "driver-retry": ("info", "A call of a driver is tried again in place."),
}
"""Level and meaning of every event."""

AGAIN_S = 60.0
"""How often it is told that something goes on."""
listeners: list[Callable[[str, Mapping[str, Any]], None]] = []
"""Told the name and the fields of every event, in whatever thread it happens."""
_held: ContextVar[list[tuple[str, dict[str, Any]]] | None] = ContextVar("held", default=None)


def happened(name: str, /, **fields: Any) -> None:
    """Something happened. Fields hold no secret. Raises KeyError for a name that is not in `EVENTS`."""
    level, _ = EVENTS[name]
    waiting = _held.get()
    if waiting is not None:
        waiting.append((name, fields))
        return
    for told in listeners:
        told(name, fields)
    if enabled(level):
        logger("octofleet").log(level, name, **fields)


@contextmanager
def held() -> Iterator[None]:
    """Events of this block happen when it ends; those of one that raises never do. For what counts only once it is committed."""
    waiting: list[tuple[str, dict[str, Any]]] = []
    token = _held.set(waiting)
    try:
        yield
    finally:
        _held.reset(token)
    for name, fields in waiting:
        happened(name, **fields)


class Repeated:
    """Tells what happens again and again when it changes, and otherwise once a minute."""

    def __init__(self) -> None:
        self._last: tuple[str, dict[str, Any]] | None = None
        self._at = 0.0

    def happened(self, name: str, /, **fields: Any) -> None:
        """It happened, perhaps again."""
        now = time.monotonic()
        if self._last != (name, fields) or now - self._at >= AGAIN_S:
            self._last, self._at = (name, fields), now
            happened(name, **fields)
