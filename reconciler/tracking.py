"""Keeps the index of a repository in step with what was applied last and with the record, and gives what a commit wants on top of it.

The index has compiled the tree of the commit applied last (before anything was applied: whatever was planned first). A plan's own commit is a
view on top: pull requests come and go without the index being written. When a run has applied another commit, or the record was touched, the next
plan brings the index along. All of it can be computed again: an index that cannot be used is made anew, and one that is being written by another
process is read as it stands.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from reconciler import wal
from reconciler.bulk import Bulk
from reconciler.comparing import Comparison
from reconciler.desired.compile import compile_tree, settle
from reconciler.desired.contribution import SourceFile
from reconciler.desired.desired import Desired
from reconciler.desired.difference import Changed
from reconciler.desired.resolve import secret_of
from reconciler.errors import Permanent
from reconciler.history import find_commit
from reconciler.index.file import Index
from reconciler.index.state import State
from reconciler.plan.alike import Alike
from reconciler.source.repository import Commit, Repository
from reconciler.source.tree import File, printable
from reconciler.stages import stage
from reconciler.store.engine import Connection
from reconciler.store.records import applied_commit, mark, recorded_groups, touched_since
from reconciler.store.runs import knows_work, last_work
from reconciler.types.change import Change
from reconciler.types.values import SecretRef
from reconciler.wiring import Installation

PART = 500


@dataclass(frozen=True, kw_only=True)
class CommitTree:
    """A commit's files, for compiling and for drivers' inputs."""

    repository: Repository
    id: str
    known: dict[str, tuple[str, str] | None]

    @classmethod
    def of(cls, repository: Repository, tree: str) -> "CommitTree":
        """The files of a tree."""
        return cls(repository=repository, id=tree, known={})

    def files(self, below: str = "") -> Iterator[SourceFile]:
        """Every file that may hold manifests, with the reason why it must not be read; of one directory or of all."""
        tree: str | None = self.id
        if below:
            found = self.repository.entry(self.id, below)
            tree = found[1] if found is not None and found[0] == "tree" else None
        if tree is not None:
            prefix = f"{below}/" if below else ""
            for file in self.repository.files(tree, prefix=prefix):
                yield SourceFile(path=file.path, blob=file.blob, problem=file.problem)

    def blob(self, blob: str) -> bytes:
        """The bytes of a blob."""
        return self.repository.blob(blob)

    def content(self, path: str) -> str | None:
        """The object id at a path."""
        entry = self._entry(path)
        return entry[1] if entry else None

    def kind(self, path: str) -> str | None:
        """What is at a path, in one word."""
        entry = self._entry(path)
        return entry[0] if entry else None

    def _entry(self, path: str) -> tuple[str, str] | None:
        """Kind and id, looked up once."""
        if path not in self.known:
            self.known[path] = self.repository.entry(self.id, path)
        return self.known[path]

    def changed(self, before: str) -> Iterator[Changed]:
        """What differs from another tree. Raises `Permanent` if it is not there any more."""
        for delta in self.repository.changed(before, self.id):
            yield Changed(path=printable(delta.path), before=_file(delta.file_before()), after=_file(delta.file()))

    def at(self, tree: str) -> "CommitTree":
        """Another tree of the repository."""
        return CommitTree.of(self.repository, tree)


def _file(found: File | None) -> SourceFile | None:
    return None if found is None else SourceFile(path=found.path, blob=found.blob, problem=found.problem)


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What a commit wants. `open`: the groups of it that may differ from the record. `applied`: the commit applied last and where it came from.
    `compiled`: the tree that the index has compiled; `pending`: the groups of that which may differ from the record. `decided`: changes of further
    groups, decided already.
    """

    desired: Desired
    tree: CommitTree
    open: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    decided: tuple[Change, ...] = ()
    applied: tuple[str, str] | None = None
    compiled: str = ""


Told = Callable[[str, int, int], None]
"""Hears of progress: stage, done, total."""


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """See the module. Its views hold until the index is looked at afresh."""

    installation: Installation
    repository: Repository
    index: Index
    told: Told = lambda stage, done, total: None
    tokens: dict[tuple[SecretRef, str], str] = field(default_factory=dict)

    def track(self, commit: Commit, bulk: bool = False, base: Commit | None = None) -> Tracked:
        """What a commit wants, and what may differ from the record. With `bulk`, changes that mean the same for very many hosts are decided at once;
        `base`: the commit that causes are told against, if it is not the one applied last.
        """
        tracked = self._tracked(commit, bulk, base)
        fleet, applied = tracked.desired.fleet, find_commit(self.repository, tracked.applied[0]) if tracked.applied else None
        if fleet is None or fleet.name == self.index.about("source") or applied is None:
            return tracked
        self._settle_if_free(applied.tree)  # the index was made for another Fleet
        return self._tracked(commit, bulk, base)

    def _tracked(self, commit: Commit, bulk: bool, base: Commit | None) -> Tracked:
        tree = CommitTree.of(self.repository, commit.tree)
        applied = self._follow(tree)
        source = self.index.about("source")
        with stage("sync"):
            touched = self._sync()
        state = State(self.index)
        pending = frozenset({*state.open(), *touched})
        decided = self._bulk(state, pending, applied, base) if bulk else None
        comparison = replace(self._comparison(tree), bulk=decided, pending=pending)
        with stage("compile"):
            desired = compile_tree(tree, self.installation.contract, self.token, self.index, comparison)
        if not self.index.about("mark"):  # there was nothing to compare with: the index has compiled this tree instead
            self._note(desired, comparison)
            desired, state, decided, comparison = self.view(tree.id), State(self.index), None, self._comparison(tree)
            pending = frozenset({*state.open(), *touched})
        other: set[str] = set()
        if desired.fleet is not None and desired.fleet.name != source:
            with self.installation.store.read() as connection:
                applied = applied_commit(connection, desired.fleet.name)
            other = self._of_another_fleet(desired, desired.fleet.name)
        differing = (pending - comparison.seen) | comparison.open | (desired.reached - comparison.seen) | desired.blocked.keys() | other
        return Tracked(
            desired=desired,
            tree=tree,
            open=frozenset(differing),
            pending=pending,
            applied=applied,
            compiled=state.tree,
            decided=_kept(decided, desired),
        )

    def _bulk(self, state: State, pending: frozenset[str], applied: tuple[str, str] | None, base: Commit | None) -> Bulk | None:
        """What decides in bulk; None where the base is not what the index has compiled."""
        if base is None and applied is not None:
            base = find_commit(self.repository, applied[0])
        if base is None or base.tree != state.tree:
            return None
        return Bulk(
            alike=Alike(source=self.index.about("source") or ""),
            kinds=self.installation.kinds,
            pending=pending,
            more_than=self.installation.settings.observe.at_most,
        )

    def _of_another_fleet(self, desired: Desired, source: str) -> set[str]:
        """The groups that no host stands for, where the index knows the record of another Fleet than this one: each may differ from its record."""
        whole = set(desired.whole())
        with self.installation.store.read() as connection:
            return whole.union(group for group in recorded_groups(connection, source) if group not in desired.hosts)

    def view(self, tree: str) -> Desired:
        """What another tree wants; nothing of it is compared."""
        with stage("compile base"):
            return compile_tree(CommitTree.of(self.repository, tree), self.installation.contract, self.token, self.index, keep=False)

    def token(self, ref: SecretRef, tenant: str) -> str:
        """The keyed digest of a secret, which is read once."""
        if (ref, tenant) not in self.tokens:
            self.tokens[ref, tenant] = self.installation.token(ref, tenant)
        return self.tokens[ref, tenant]

    def _comparison(self, tree: CommitTree) -> Comparison:
        done = 0

        def more(number: int, whole: int) -> None:
            nonlocal done
            done += number
            self.told("compare", done, max(done, whole))

        source = self.index.about("source") or ""
        return Comparison(store=self.installation.store, drivers=self.installation.drivers, inputs=tree, source=source, told=more)

    def _follow(self, tree: CommitTree) -> tuple[str, str] | None:
        """Bring the index to the commit applied last; make it from `tree` if there is none. Gives the commit applied last."""
        if not self._usable():
            self._settle(tree)
        with self.installation.store.read() as connection:
            applied = applied_commit(connection, self.index.about("source") or "")
        state = State(self.index)
        if applied is None:
            if self._rotated(state):
                self._settle_if_free(state.tree)
            return None
        commit = find_commit(self.repository, applied[0])
        if commit is not None and (commit.tree != state.tree or self._rotated(state)):
            self._settle_if_free(commit.tree)
        return applied

    def _usable(self) -> bool:
        """Whether the index has compiled a tree under today's contract, which the repository still has."""
        state = State(self.index)
        if (
            not state.tree
            or self.index.about("source") is None
            or state.contract != f"{self.installation.contract.digest}:{self.index.schemas}"
        ):
            return False
        try:
            self.repository.entries(state.tree)
        except Permanent:
            return False
        return True

    def _rotated(self, state: State) -> bool:
        """Whether a secret has another value than when the tree was compiled."""
        return any(self.token(*secret_of(name)) != before for name, before in state.secrets().items())

    def _settle_if_free(self, tree: str) -> None:
        """As `_settle`, unless another process writes the index for too long: then everything is seen from the tree that it has."""
        try:
            self._settle(CommitTree.of(self.repository, tree))
        except sqlite3.OperationalError as error:
            if not wal.is_busy(error):
                raise

    def _settle(self, tree: CommitTree) -> None:
        """Bring the index to a tree, compared with the record. Another process that is writing it is waited for, but not for ever."""
        comparison = self._comparison(tree)
        with stage("settle"):
            self._note(settle(tree, self.installation.contract, self.token, self.index, comparison), comparison)

    def _note(self, desired: Desired, comparison: Comparison) -> None:
        """The index has just been brought to what is desired: note whose record it is compared with, and how far that is known."""
        with self.index.writing():
            source = desired.fleet.name if desired.fleet else ""
            if source != self.index.about("source"):
                self.index.note("source", source)
                self.index.note("mark", "")
            self._look(source, comparison)

    def _sync(self) -> set[str]:
        """Look again at what was touched since; gives groups that could not be noted because another process is writing."""
        source = self.index.about("source") or ""
        with self.installation.store.read() as connection:
            now = mark(connection, source)
            known = self._mark(connection, now)
            touched = touched_since(connection, source, known[1]) if known else []
        if known == now:
            return set()
        try:
            with self.index.writing():
                self._look(source, None)
        except sqlite3.OperationalError:
            return set(touched) if known else set(self._everything(State(self.index), source, set()))
        return set()

    def _mark(self, connection: Connection, now: tuple[str, int]) -> tuple[str, int] | None:
        """How far the record was known; None if it is another record, or one that was restored to an older state."""
        store, seq, *work = [*(self.index.about("mark") or "").split(" "), ""]
        known = store == now[0] and seq.isdecimal() and int(seq) <= now[1] and knows_work(connection, filter(None, work))
        return (store, int(seq)) if known else None

    def _look(self, source: str, comparison: Comparison | None) -> None:
        """Compare what was touched since the record was last looked at, or everything; within `writing`. `comparison` has just seen some of it."""
        with self.installation.store.read() as connection:
            now = mark(connection, source)
            known = self._mark(connection, now)
            work = last_work(connection, source)
            groups = touched_since(connection, source, known[1]) if known else []
        seen = comparison.seen if comparison else set()
        state = State(self.index)
        asked: Iterable[str] = {*groups, *state.whole(), *state.orphans()} - seen
        if known is None:
            asked = self._everything(state, source, seen)
        desired = self.view(state.tree)
        tree = CommitTree.of(self.repository, state.tree)
        fresh = self._comparison(tree)
        for part in _parts(asked):
            found = fresh.groups(desired.scopes(part), source, part)
            state.set_open((group, differs or group in desired.blocked) for group, differs in found.items())
            for group, differs in found.items():
                state.set_orphan(group, orphan=differs and not state.declared(group))
        first = comparison.marks[0] if comparison and comparison.marks else now
        self.index.note("mark", " ".join((first[0], str(first[1]), *work)))

    def _everything(self, state: State, source: str, seen: set[str]) -> Iterator[str]:
        yield from (group for kind in ("fleet", "tenant", "host") for group in state.refs(kind) if group not in seen)
        with self.installation.store.read() as connection:
            yield from (group for group in recorded_groups(connection, source) if not state.declared(group))


def _kept(bulk: Bulk | None, desired: Desired) -> tuple[Change, ...]:
    return tuple(change for change in bulk.changes if change.group not in desired.blocked) if bulk else ()


def _parts(items: Iterable[str]) -> Iterator[list[str]]:
    left = iter(items)
    while part := list(islice(left, PART)):
        yield part
