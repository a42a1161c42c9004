"""This process as a worker of an installation, with what its driver calls need."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from reconciler.apply.attempt import MakeContext, Patience, Told
from reconciler.apply.worker import Terms, Worker
from reconciler.drivers.driver import Context
from reconciler.errors import Permanent, RetryLater
from reconciler.history import find_commit
from reconciler.source.repository import Repository
from reconciler.store.plans import PlanHead
from reconciler.wiring import VERSION, Installation


@contextmanager
def worker(installation: Installation, role: str, told: Told | None = None) -> Iterator[Worker]:
    """This process as a worker of an installation."""
    settings = installation.settings.apply
    terms = Terms(
        role=role,
        version=VERSION,
        slots=settings.slots,
        lease_s=settings.lease_s,
        driver_limits=settings.driver_limits,
        tenant_limit=settings.tenant_limit or None,
        patience=Patience(attempts=settings.attempts, deadline_s=settings.deadline_s),
    )
    contexts = _Contexts(installation)
    made = Worker(
        store=installation.store,
        drivers=installation.drivers,
        contexts=contexts,
        here=installation.data_dir / "workers",
        terms=terms,
        told=told,
    )
    contexts.worker = made
    with made.working():
        yield made


class _Contexts:
    """Makers of contexts for driver calls, each for one attempt: what the calls leave in their scratch directories goes with it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._repositories: dict[str, Repository] = {}
        self.worker: Worker | None = None

    @contextmanager
    def __call__(self, plan: PlanHead) -> Iterator[MakeContext]:
        """The repository is opened when it is needed, so that one out of reach is the step's trouble: then the maker raises `RetryLater`."""
        made: list[MakeContext] = []
        with ExitStack() as stack:

            def make(log: Callable[[str], None], checkpoint: Callable[[str], None]) -> Context:
                if not made:
                    made.append(stack.enter_context(self._installation.contexts(self._repository(plan), self._stopping, plan.commit)))
                return made[0](log, checkpoint)

            yield make

    def _stopping(self) -> bool:
        return self.worker is not None and self.worker.stopping

    def _repository(self, plan: PlanHead) -> Repository:
        """One that has the plan's commit; fetched if it has not."""
        try:
            with self._locks[plan.location]:  # others of this repository wait while it is fetched
                found = self._repositories.get(plan.location) or self._installation.repository(plan.location, fetch=False)
                if find_commit(found, plan.commit) is None:
                    found = self._installation.repository(plan.location)
                self._repositories[plan.location] = found
                return found
        except Permanent as error:
            raise RetryLater(error.message, after_s=5.0, hint=error.hint, code=error.code) from error
