"""One look at a pull request: does what comments say, plans the merge, and writes down what is to stand at the forge.

Nothing here posts: that is the queue's (`posting.py`). When and how often is looked is said by `work.py`.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from reconciler.errors import InputError, Refused
from reconciler.events import happened
from reconciler.history import find_commit
from reconciler.identity.access import Identity
from reconciler.planning import Planned, make_plan
from reconciler.report.text import brief
from reconciler.report.view import counted
from reconciler.settings import Followed
from reconciler.source.merging import merge
from reconciler.source.mirror import MirroredRepository
from reconciler.source.repository import Repository
from reconciler.source.signatures import Signature, signatures
from reconciler.store.engine import Connection, Unavailable
from reconciler.store.pull_locks import release
from reconciler.store.pulls import NEVER, PullRow, answer, commands_of
from reconciler.store.records import locations, mark
from reconciler.types.canonical import canonical, digest, unpack
from reconciler.types.change import Change
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem
from reconciler.types.request import Request
from reconciler.viewing import viewing
from reconciler.wiring import Installation, place, where
from webhooks.comment import comment
from webhooks.forge import Forge, Later, Pull, PullState
from webhooks.merged import outcome_of, waits_for
from webhooks.said import Applied, Said
from webhooks.speaking import Asked, heard
from webhooks.telling import ANSWERS, Looked, answers_of, check_lease, status_of, told
from webhooks.wanted import want_comment, want_heard, want_status

FOLLOW_S: Mapping[Applied, float] = {Applied.GOES_ON: 2.0, Applied.WAITS: 30.0}
"""How often a merged pull request is looked at until its run has ended, in seconds."""
KEPT = 64
"""How many plans are kept to be shown again, when only what is said beside them changes."""


class Unplanned(Exception):
    """A plan broke off, for the reason that is the cause. `row`: how the pull request stands without one."""

    def __init__(self, row: PullRow) -> None:
        super().__init__(str(row.key))
        self.row = row


class Looking:
    """`rules`: the repositories whose pull requests are planned, by name of the forge and project. Forges are asked in `runner`."""

    def __init__(
        self, installation: Installation, forges: Mapping[str, Forge], rules: Mapping[tuple[str, str], Followed], runner: asyncio.Runner
    ) -> None:
        self.rules = rules
        self._installation, self._forges, self._runner = installation, forges, runner
        self._kept: OrderedDict[str, tuple[str, Planned]] = OrderedDict()

    def look(self, row: PullRow) -> PullRow:
        """Do all of it; gives how the pull request stands then. Raises `Unplanned`, `Gone`, and whatever the forge or the repository does."""
        rules = self.rules.get((row.key.forge, row.key.project))
        forge = self._forges.get(row.key.forge)
        if rules is None or forge is None:
            return self.lost(row, "its repository is not followed any more")
        pull = _merged_as_seen(row) or self._runner.run(forge.client.pull(row.key.project, row.key.number))
        author = f"{forge.kind}:{pull.author}"
        seen = canonical(msgspec.to_builtins(pull) | {"identity": author})
        left = replace(row, location=where(rules.location), state=pull.state.value, branch=pull.base_branch, seen=seen, failures=0, note="")
        repository = self._installation.repository(rules.location)
        if pull.base_branch != (rules.branch or repository.branch_of(None)):
            return self._elsewhere(left, rules, forge, pull, repository)
        if pull.state is PullState.OPEN:
            return self._open(left, rules, forge, pull, repository)
        left, _ = self._commands(left, rules, forge, pull, repository)
        if pull.state is PullState.MERGED:
            return self._merged(left, rules, pull, repository)
        return self._closed(left, "it was closed without being merged")

    def _elsewhere(self, row: PullRow, rules: Followed, forge: Forge, pull: Pull, repository: Repository) -> PullRow:
        """It goes to a branch that is not followed: it has nothing here any more, and where something was said of it that is taken back."""
        note = f"it is onto {brief(pull.base_branch)}, which is not followed"
        left, _ = self._commands(row, rules, forge, pull, repository, refusal=note)
        self._kept.pop(str(row.key), None)
        with self._installation.store.write(alone=False) as connection:
            release(connection, row.key)
        if row.plan is not None:
            with self._installation.store.read() as connection:
                answers = answers_of(commands_of(connection, row.key, done=True, most=ANSWERS))
            self._say(left, Said(pull=pull, base="", problems=[_problem(rules, note)], answers=answers), forge, pull.head)
        return replace(left, head=pull.head, made_of="", plan=None, planned_at=None, due_at=NEVER, note=note)

    def _commands(
        self, row: PullRow, rules: Followed, forge: Forge, pull: Pull, repository: Repository, *, refusal: str = ""
    ) -> tuple[PullRow, bool]:
        """Do what comments say, in their order; whether that asks for a plan. `refusal`: why nothing can be done."""
        again = False
        with self._installation.store.read() as connection:
            waiting = commands_of(connection, row.key, done=False)
            source = self._source(connection, row, repository)
        for command in waiting:
            identity = Identity(name=f"{forge.kind}:{command.author}")
            asked = Asked(
                installation=self._installation,
                rules=rules,
                row=row,
                pull=pull,
                command=command,
                identity=identity,
                source=source,
                refusal=refusal,
            )
            found = heard(asked)
            happened("command-heard", pull=str(row.key), identity=identity.name, answer=brief(found.answer))
            row, again = found.row, again or found.plan_again
            with self._installation.store.write(alone=False) as connection:
                want_heard(connection, row.key, command.comment)
        return row, again

    def _source(self, connection: Connection, row: PullRow, repository: Repository) -> str:
        """The Fleet whose rules decide: the one that was applied from the repository, whatever the pull request names; before that the one of its plan."""
        planned = connection.scalar('SELECT source FROM plan WHERE "row" = ?', (row.plan,)) if row.plan is not None else None
        own = [name for name, location in locations(connection).items() if location == place(repository)]
        return planned if planned in own else next(iter(own), planned or "")

    def _open(self, row: PullRow, rules: Followed, forge: Forge, pull: Pull, repository: Repository) -> PullRow:
        """Plan it as far as needed, do what comments say to that, and tell."""
        if find_commit(repository, pull.head) is None and pull.head_url and isinstance(repository, MirroredRepository):
            repository.fetch_branch(pull.head_url, pull.head_branch)
        if find_commit(repository, pull.head) is None:
            raise Later(f"the mirror has not got {pull.head[:10]} yet", after_s=1.0)
        base = repository.tip(pull.base_branch).id
        looked = Looked(
            pull=pull,
            author=f"{forge.kind}:{pull.author}",
            rules=rules,
            base=base,
            merge=merge(repository, pull.head, base),
            signatures=self._signatures(rules, repository, base, pull.head),
            trusted=_trusted(row, pull),
            holds=_holds_resources(row, pull),
        )
        row, looked = self._planned(row, looked, repository, again=False)
        row, again = self._commands(row, rules, forge, pull, repository)
        looked = replace(looked, trusted=_trusted(row, pull), holds=_holds_resources(row, pull))
        if again:
            row, looked = self._planned(row, looked, repository, again=True)
        if looked.planned is None:
            self._say(row, told(self._installation, row, looked, None), forge, pull.head)
            return row
        with viewing(self._installation, repository, looked.planned) as view:
            shown = replace(view, now=looked.planned.plan.created_at, diff=view.diff if looked.trusted else _no_diff)
            self._say(row, told(self._installation, row, looked, shown), forge, pull.head)
        return row

    def _planned(self, row: PullRow, looked: Looked, repository: Repository, *, again: bool) -> tuple[PullRow, Looked]:
        """Plan what it would be merged, unless that is planned. Without a plan, `looked` says why."""
        name, head = str(row.key), looked.pull.head
        nothing = replace(row, head=head, made_of="", plan=None, planned_at=None, due_at=NEVER)
        if looked.merge.commit is None:
            return nothing, looked
        made_of = digest([head, looked.base, looked.trusted, self._in_force()])
        kept = self._kept.get(name)
        if again or kept is None or kept[0] != made_of or kept[1].plan.expires_at <= self._now():
            self._say_that_it_is_planned(row, looked)
            request = Request(base=looked.base, look=looked.trusted, own=True)
            try:
                kept = made_of, make_plan(self._installation, repository, request, commit=looked.merge.commit)
            except InputError as error:
                return nothing, replace(looked, problems=error.problems)
            except Refused as error:
                return nothing, replace(looked, problems=[_problem(looked.rules, error.message, error.code)])
            except Unavailable:
                raise
            except Exception as error:
                failed = replace(looked, failure=f"pull-failed of {row.key} in the log says more")
                self._say(row, told(self._installation, row, failed, None), self._forges[row.key.forge], head)
                raise Unplanned(nothing) from error
            self._keep(name, kept)
        planned = kept[1]
        same = row.plan is not None and self._plan_id(row.plan) == planned.plan.id
        at = row.planned_at if same else self._now()
        left = replace(row, head=head, made_of=made_of, plan=planned.row, planned_at=at, due_at=planned.plan.expires_at)
        return left, replace(looked, planned=planned)

    def _keep(self, name: str, kept: tuple[str, Planned]) -> None:
        self._kept[name] = kept
        self._kept.move_to_end(name)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _signatures(self, rules: Followed, repository: Repository, base: str, head: str) -> Sequence[Signature] | None:
        return signatures(repository, base, head, Path(rules.signers)) if rules.signers else None

    def _in_force(self) -> list[Any]:
        """What a plan depends on besides commits: a plan that was made before something was applied is made anew."""
        with self._installation.store.read() as connection:
            return [[name, mark(connection, name)] for name in locations(connection)]

    def _plan_id(self, row: int) -> str:
        with self._installation.store.read() as connection:
            return str(connection.scalar('SELECT id FROM plan WHERE "row" = ?', (row,)) or "")

    def _say_that_it_is_planned(self, row: PullRow, looked: Looked) -> None:
        said = Said(pull=looked.pull, base=looked.base, pending=True)
        with self._installation.store.write(alone=False) as connection:
            want_status(connection, row.key, looked.pull.head, status_of(said))

    def _say(self, row: PullRow, said: Said, forge: Forge, head: str) -> None:
        """Write down what is to stand at the forge. What is posted already is not posted again."""
        text = comment(replace(said, folding=forge.html))
        with self._installation.store.write(alone=False) as connection:
            check_lease(connection, row)
            want_comment(connection, row.key, text)
            want_status(connection, row.key, head, status_of(said))

    def _merged(self, row: PullRow, rules: Followed, pull: Pull, repository: Repository) -> PullRow:
        """Tell how what it brought is applied, until that has ended."""
        location = where(rules.location)
        needs, says = waits_for(self._installation, rules, row.plan, repository)
        with self._installation.store.write(alone=False) as connection:
            check_lease(connection, row)
            outcome = outcome_of(connection, location, pull, repository)
            over = outcome.applied in (Applied.DONE, Applied.FAILED)
            if over:
                release(connection, row.key)
            answers = answers_of(commands_of(connection, row.key, done=True, most=ANSWERS))
            said = Said(pull=pull, base=pull.merged_as, outcome=outcome, answers=answers, folding=self._forges[row.key.forge].html)
            if outcome.applied is Applied.WAITS:
                said = replace(said, requirements=needs, commands=says, outcome=replace(outcome, next="" if says else outcome.next))
            want_comment(connection, row.key, comment(said))
        self._kept.pop(str(row.key), None)
        return replace(row, head=pull.head, due_at=NEVER if over else self._now() + FOLLOW_S[outcome.applied])

    def lost(self, row: PullRow, why: str) -> PullRow:
        """Nobody can look at it any more: nor do what comments say that still waits, which would have it looked at again and again."""
        with self._installation.store.write(alone=False) as connection:
            for command in commands_of(connection, row.key, done=False):
                answer(connection, command, why)
        return self._closed(row, why)

    def _closed(self, row: PullRow, why: str) -> PullRow:
        with self._installation.store.write(alone=False) as connection:
            freed = release(connection, row.key)
        self._kept.pop(str(row.key), None)
        note = why + (f"; {counted(freed, 'resource')} free again" if freed else "")
        state = row.state if row.state == PullState.MERGED.value else PullState.CLOSED.value
        return replace(row, state=state, due_at=NEVER, failures=0, note=note)

    def _now(self) -> float:
        with self._installation.store.read() as connection:
            return connection.now()


def _merged_as_seen(row: PullRow) -> Pull | None:
    """A pull request that was merged, which stays so: the forge need not be asked again."""
    seen = unpack(row.seen)
    return msgspec.convert(seen, Pull) if row.state == PullState.MERGED.value and seen.get("merged_as") else None


def _trusted(row: PullRow, pull: Pull) -> bool:
    """Whether its plan may run engines: everybody may push to a fork, so somebody has to trust the very head."""
    return not pull.fork or row.trusted == pull.head


def _holds_resources(row: PullRow, pull: Pull) -> bool:
    """Whether it keeps others from what it changes: what nobody trusts holds nothing, else whoever can open a pull request could hold everything."""
    return _trusted(row, pull) and row.let_go != pull.head


def _problem(rules: Followed, message: str, code: str = "not-followed") -> Problem:
    return Problem(origin=Origin(path=rules.project), code=code, message=message)


def _no_diff(change: Change) -> str:
    """What is shown of files that a template which nobody trusts would make."""
    del change
    return ""
