"""Machines that nobody knows become proposals: a branch with a manifest, and a pull request where the repository has a forge. No row in a database.

One branch a machine, named by its MAC address, so that nothing happens twice, whoever looks: a branch that is there is left as it is. At most `OPEN_MOST`
of them wait for people at once. The work is done in a thread of its own, one machine after another; machines are told what is known of them.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from time import monotonic

from reconciler.boot.asked import Asked
from reconciler.boot.manifest import host_of, manifest
from reconciler.boot.picture import Picture
from reconciler.errors import OctofleetError, Refused
from reconciler.events import Repeated, happened
from reconciler.planning import compiled
from reconciler.settings import Followed
from reconciler.source.proposal import Author, add, propose
from reconciler.source.repository import Repository
from reconciler.store.records import locations
from reconciler.types.problem import Severity
from reconciler.types.values import Spec
from reconciler.wiring import Installation, same_place

PREFIX = "octofleet/discovered-"
AUTHOR = "octofleet discovery"
OPEN_MOST, WAITING_MOST, KNOWN_MOST = 10, 50, 10_000
EVERY_S, AGAIN_S = 5.0, 60.0
"""A machine is looked at at most so often, and the same one again at most so often."""
Opens = Callable[[Followed, str, str, str, str], str]
"""Opens a pull request of a followed repository: from a branch, onto a branch, with a title and a text; gives its URL, or nothing without a forge."""
OFF = "nobody knows this machine, and the Fleet says nothing of discovery"
LATER = "this machine is being proposed as a host"


class Discovery:
    """`wiring`: an installation that only its thread uses."""

    def __init__(self, wiring: Installation, picture: Picture, opens: Opens, *, every_s: float = EVERY_S, again_s: float = AGAIN_S) -> None:
        self._wiring, self._picture, self._opens = wiring, picture, opens
        self._every_s, self._again_s = every_s, again_s
        self._lock = Lock()
        self._told: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._waiting: Queue[Asked] = Queue(WAITING_MOST)
        self._end, self._refusals = Event(), Repeated()
        self._thread = Thread(target=self._work, name="boot-discovery", daemon=True)

    def start(self) -> None:
        """Begin to propose."""
        self._thread.start()

    def close(self) -> None:
        """End; who waits asks again."""
        self._end.set()
        self._thread.join(10)

    def asked(self, who: Asked) -> str:
        """What a machine is told that nobody knows. It is proposed soon; this waits for nothing."""
        if self._picture.of_fleet("", "discovery") is None:
            return OFF
        if not who.mac or int(who.mac[:2], 16) & 1:
            return "this machine says no MAC address of its own, and is not proposed"
        at, text = self._told.get(who.mac, (-self._again_s, LATER))
        if monotonic() - at >= self._again_s:
            try:
                self._waiting.put_nowait(who)
            except Full:
                return "too many machines wait to be proposed"
            self._tell(who, text)
        return text

    def _tell(self, who: Asked, text: str) -> None:
        with self._lock:
            self._told.pop(who.mac, None)
            self._told[who.mac] = (monotonic(), text)
            if len(self._told) > KNOWN_MOST:
                self._told.popitem(last=False)

    def _work(self) -> None:
        while not self._end.is_set():
            with suppress(Empty):
                who = self._waiting.get(timeout=0.5)
                self._tell(who, self._tried(who))
                self._end.wait(self._every_s)

    def _tried(self, who: Asked) -> str:
        try:
            rules = self._picture.of_fleet("", "discovery")
            return OFF if rules is None else self._proposed(who, *rules)
        except OctofleetError as error:
            self._refuse(who, error.message, error.hint)
        except Exception as error:  # noqa: BLE001 - one machine may not keep others from being proposed
            self._refuse(who, f"{type(error).__name__}: {error}", "")
        return "this machine is not proposed: the server's log says why"

    def _refuse(self, who: Asked, why: str, hint: str) -> None:
        self._refusals.happened("discovery-refused", machine=who.described, why=why, hint=hint)

    def _proposed(self, who: Asked, source: str, rules: Spec) -> str:
        with self._wiring.store.read() as connection:
            location = locations(connection)[source]
        followed = self._followed(location)
        repository = self._wiring.repository(location)
        branch, name = f"{PREFIX}{who.mac.replace(':', '-')}", host_of(who)
        text = f"this machine is proposed as {rules['tenant']}/{name}, by the branch {branch}"
        head, branches = repository.tip(followed.branch), repository.branches()
        if branch in branches:
            return text
        waiting = [there for there, tip in branches.items() if there.startswith(PREFIX) and not repository.is_ancestor(tip, head.id)]
        if len(waiting) >= OPEN_MOST:
            raise Refused(f"{len(waiting)} proposals wait already", hint="merge them, or delete their branches", code="discovery-full")
        path, title = f"{rules['path']}/{name}.yaml", f"Add the host {rules['tenant']}/{name}, found by network boot"
        body = f"It said of itself: {who.described}.\n"
        made = add(repository, {path: manifest(who, rules)}, onto=head, author=Author(name=AUTHOR), message=f"{title}\n\n{body}")
        self._check(repository, made, path, f"host/{rules['tenant']}/{name}")
        propose(repository, made, branch)
        happened("discovered", host=name, tenant=rules["tenant"], branch=branch, machine=who.described)
        onto = repository.branch_of(followed.branch or None) or ""
        try:
            if url := self._opens(followed, branch, onto, title, body):
                happened("discovered-pull", host=name, tenant=rules["tenant"], url=url)
        except OctofleetError as error:
            self._refuse(who, error.message, error.hint)
        return text

    def _check(self, repository: Repository, commit: str, path: str, group: str) -> None:
        """Raises `Refused` for a manifest that its repository would refuse: no such tenant or profile, or a host of that name."""
        desired = compiled(self._wiring, repository, repository.commit(commit))
        wrong = [one for one in desired.problems if one.severity is Severity.ERROR and one.origin.path == path]
        if wrong or group not in desired.hosts or group in desired.blocked:
            why = str(wrong[0]) if wrong else desired.blocked.get(group, f"{group} is not to be found")
            hint = "correct spec.boot.discovery of the Fleet"
            raise Refused(f"a host of this machine would be refused: {why}", hint=hint, code="discovery-manifest")

    def _followed(self, location: str) -> Followed:
        rules = (rule for rule in self._wiring.settings.repositories if same_place(rule.location) == same_place(location))
        return next(rules, Followed(location=location))
