"""The compiled state of one tree, as the index holds it: reads and writes of its tables, and nothing about what they mean.

A `Place` says where a manifest (or a member of a HostSet) stands. Whoever writes does so within `Index.writing`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from reconciler.index.file import Index
from reconciler.index.tables import OF_A_TREE
from reconciler.types.rule import is_whole

NO_MEMBER = -1
_PART = 500


class Place(NamedTuple):
    """Where something is declared: identity as text, file, number of the document in it, member of a HostSet or `NO_MEMBER`, blob of the file, line."""

    ref: str
    path: str
    number: int
    member: int
    blob: bytes
    line: int


CHOOSES = "*"
"""Stands for the identities of a Role that chooses its hosts."""


class HostRow(NamedTuple):
    """What is known of a host: id of its set of inputs, its identities (one a line), whether its resources may differ from the
    record, why it is unknown, where it moved from."""

    inputs: int | None = None
    identity: str = ""
    open: bool = False
    problem: str | None = None
    moved: str | None = None


class State:
    """The tables of one index that describe a tree. `tree` is empty when there is none."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._rows = index.rows
        self.tree = index.about("tree") or ""
        self.contract = index.about("contract") or ""
        self.hosts = index.number("hosts")
        self.generation = index.number("generation")
        self._inputs: dict[frozenset[str], int] = {}

    def places(self, ref: str) -> list[Place]:
        """Every place where an identity is declared, by path."""
        return list(map(Place._make, self._rows("SELECT ref, path, number, member, blob, line FROM manifest WHERE ref = ?", (ref,))))

    def refs(self, kind: str) -> list[str]:
        """The identities of a kind."""
        return [ref for (ref,) in self._rows("SELECT DISTINCT ref FROM manifest WHERE ref >= ? AND ref < ?", (f"{kind}/", f"{kind}0"))]

    def choosing(self) -> list[str]:
        """The identities of Roles that choose their hosts."""
        query = "SELECT DISTINCT ref FROM manifest WHERE ref >= 'role/' AND ref < 'role0' AND identity = ?"
        return [ref for (ref,) in self._rows(query, (CHOOSES,))]

    def count(self) -> int:
        """How many identities there are, members of HostSets aside."""
        return int(self._rows("SELECT count(DISTINCT ref) FROM manifest WHERE member = ?", (NO_MEMBER,))[0][0])

    def host(self, group: str) -> list[tuple[Place, HostRow]]:
        """What is known of a host, at each place that declares it."""
        query = "SELECT ref, path, number, member, blob, line, inputs, identity, open, problem, moved FROM manifest WHERE ref = ?"
        return [(Place(*row[:6]), HostRow(*row[6:])) for row in self._rows(query, (group,))]

    def using(self, inputs: Collection[str]) -> list[Place]:
        """The hosts that use any of these inputs, by path."""
        return sorted(self._places(self._sets(inputs)), key=attrgetter("path", "number", "member"))

    def alike(self, inputs: Collection[str]) -> Iterator[tuple[frozenset[str], list[Place]]]:
        """The hosts that use any of these inputs, by all that they use but their networks, each such list with the names of what is used."""
        classes: dict[frozenset[str], list[int]] = {}
        for part in _parts(self._sets(inputs)):
            for number, text in self._rows(f"SELECT id, names FROM inputs WHERE id IN ({_marks(part)})", part):  # noqa: S608
                names = frozenset(name for name in text.split("\n") if not name.startswith("network/"))
                classes.setdefault(names, []).append(number)
        for names, sets in classes.items():
            yield names, self._places(sets)

    def _sets(self, inputs: Collection[str]) -> list[int]:
        sets: set[int] = set()
        for part in _parts(sorted(inputs)):
            sets.update(number for (number,) in self._rows(f"SELECT inputs FROM used WHERE input IN ({_marks(part)})", part))  # noqa: S608
        return sorted(sets)

    def _places(self, sets: Sequence[int]) -> list[Place]:
        found: list[Place] = []
        for part in _parts(sets):
            query = f"SELECT ref, path, number, member, blob, line FROM manifest WHERE inputs IN ({_marks(part)})"  # noqa: S608
            found += (Place(*row) for row in self._rows(query, part))
        return found

    def uses(self, inputs: Iterable[str]) -> bool:
        """Whether any host uses any of these inputs."""
        return any(self._rows("SELECT 1 FROM used WHERE input = ? LIMIT 1", (name,)) for name in inputs)

    def identities(self, groups: Sequence[str]) -> dict[str, str]:
        """What identifies hosts, one identity a line; those that nothing identifies are left out."""
        found: dict[str, str] = {}
        for part in _parts(groups):
            query = f"SELECT ref, identity FROM manifest WHERE ref IN ({_marks(part)}) AND identity <> ''"  # noqa: S608
            for ref, identity in self._rows(query, part):
                found[ref] = f"{found[ref]}\n{identity}" if ref in found else identity
        return found

    def open(self) -> list[str]:
        """Groups that may differ from the record, and groups that have a record and no manifest."""
        return [ref for (ref,) in self._rows("SELECT ref FROM manifest WHERE open = 1 UNION SELECT ref FROM orphan")]

    def whole(self) -> list[str]:
        """The Fleets, Tenants and rules that may differ from the record."""
        return [ref for ref in self.open() if is_whole(ref)]

    def orphans(self) -> list[str]:
        """Groups that have a record and no manifest."""
        return [ref for (ref,) in self._rows("SELECT ref FROM orphan")]

    def blocked(self) -> dict[str, str]:
        """Why hosts are unknown, by group."""
        return dict(self._rows("SELECT ref, problem FROM manifest WHERE problem IS NOT NULL"))

    def came_from(self, moved: str) -> list[Place]:
        """The hosts that say they come from an identity."""
        return list(map(Place._make, self._rows("SELECT ref, path, number, member, blob, line FROM manifest WHERE moved = ?", (moved,))))

    def owners(self, identity: str) -> set[str]:
        """The hosts that have an identity in a network."""
        return {ref for (ref,) in self._rows("SELECT ref FROM identity WHERE value = ?", (identity,))}

    def shared_identities(self) -> dict[str, set[str]]:
        """Identities that more than one host has."""
        found: dict[str, set[str]] = {}
        for (value,) in self._rows("SELECT value FROM identity GROUP BY value HAVING count(*) > 1"):
            found[value] = self.owners(value)
        return found

    def declared_twice(self) -> list[str]:
        """Identities that stand in more than one place."""
        return [ref for (ref,) in self._rows("SELECT ref FROM manifest GROUP BY ref HAVING count(*) > 1")]

    def moved_twice(self) -> list[tuple[str, str]]:
        """Hosts that come from where another one comes from, each with the first of those by name; what is declared twice is left aside."""
        twice = "SELECT moved FROM manifest WHERE moved IS NOT NULL GROUP BY moved HAVING count(DISTINCT ref) > 1"
        found = []
        for (moved,) in self._rows(twice):
            refs = [place.ref for place in self.came_from(moved)]
            once = sorted(ref for ref in refs if len(self.places(ref)) == 1)
            found += [(other, once[0]) for other in once[1:]]
        return found

    def used_secrets(self) -> list[str]:
        """The inputs that are secrets."""
        query = "SELECT DISTINCT input FROM used WHERE input >= 'secret:' AND input < 'secret;'"
        return [name for (name,) in self._rows(query)]

    def bad(self) -> dict[str, bytes]:
        """Files with problems, by path: what they contribute, packed."""
        return dict(self._rows("SELECT path, body FROM bad"))

    def projects(self) -> list[tuple[str, str, int, int, str]]:
        """Project directories with the path, document number, line and identity of each Role that names one."""
        return self._rows("SELECT directory, path, number, line, ref FROM project")

    def findings(self) -> list[tuple[str, bytes]]:
        """Owner and packed problem of all that shows only when everything is known."""
        return self._rows("SELECT owner, body FROM finding")

    def secrets(self) -> dict[str, str]:
        """The secrets in use, as names of inputs, with their tokens."""
        return dict(self._rows("SELECT name, token FROM secret"))

    # What follows writes.

    def begin(self) -> None:
        """Empty everything that describes a tree."""
        for table in OF_A_TREE:
            self.index.connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        self.index.note("tree", "")
        self.index.note("mark", "")  # the groups that have a record and no manifest are not known any more
        self._inputs.clear()

    def end(self, tree: str, contract: str, hosts: int | None = None) -> None:
        """The tables describe this tree, compiled under this contract, from now on. `hosts`: how many there are; they are counted if None."""
        self.index.note("tree", tree)
        self.index.note("contract", contract)
        if hosts is None:
            hosts = self._rows("SELECT count(DISTINCT ref) FROM manifest WHERE ref >= 'host/' AND ref < 'host0'")[0][0]
        self.index.note("hosts", str(hosts))
        self.index.note("generation", str(self.generation + 1))

    def put(self, rows: Iterable[tuple[Place, HostRow]]) -> None:
        """Insert or replace manifests."""
        self.index.connection.executemany(
            "INSERT OR REPLACE INTO manifest (ref, path, number, member, blob, line, inputs, identity, open, problem, moved) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            ((*place, *row) for place, row in rows),
        )

    def remove(self, places: Iterable[Place]) -> None:
        """These places declare nothing any more."""
        statement = "DELETE FROM manifest WHERE ref = ? AND path = ? AND number = ? AND member = ?"
        self.index.connection.executemany(statement, (place[:4] for place in places))

    def inputs_id(self, names: frozenset[str]) -> int:
        """The number of a set of inputs."""
        if names not in self._inputs:
            text = "\n".join(sorted(names))
            row = self.index.row("SELECT id FROM inputs WHERE names = ?", (text,))
            if row is None:
                row = self.index.connection.execute("INSERT INTO inputs (names) VALUES (?) RETURNING id", (text,)).fetchone()
                self.index.connection.executemany("INSERT INTO used VALUES (?, ?)", ((name, row[0]) for name in names))
            self._inputs[names] = row[0]
        return self._inputs[names]

    def put_identities(self, rows: Iterable[tuple[str, str]]) -> None:
        """Who (group) has an identity."""
        self.index.connection.executemany("INSERT OR IGNORE INTO identity VALUES (?, ?)", rows)

    def remove_identities(self, rows: Iterable[tuple[str, str]]) -> None:
        """Who has one no more."""
        self.index.connection.executemany("DELETE FROM identity WHERE value = ? AND ref = ?", rows)

    def set_open(self, groups: Iterable[tuple[str, bool]]) -> None:
        """Whether each host may differ from the record."""
        self.index.connection.executemany("UPDATE manifest SET open = ? WHERE ref = ?", ((is_open, ref) for ref, is_open in groups))

    def set_problem(self, group: str, problem: str | None) -> None:
        """Why a host is unknown."""
        self.index.connection.execute("UPDATE manifest SET problem = ?, open = 1 WHERE ref = ?", (problem, group))

    def forget_host(self, group: str) -> None:
        """Nothing identifies the host any more: it is unknown which of its manifests holds."""
        self.index.connection.execute("UPDATE manifest SET identity = '' WHERE ref = ?", (group,))

    def set_orphan(self, group: str, orphan: bool) -> None:
        """Whether a group has a record and no manifest."""
        statement = "INSERT OR IGNORE INTO orphan VALUES (?)" if orphan else "DELETE FROM orphan WHERE ref = ?"
        self.index.connection.execute(statement, (group,))

    def declared(self, group: str) -> bool:
        """Whether anything declares an identity."""
        return self.index.row("SELECT 1 FROM manifest WHERE ref = ? LIMIT 1", (group,)) is not None

    def replace_bad(self, path: str, body: bytes | None) -> None:
        """A file has problems, or no more."""
        self.index.connection.execute("DELETE FROM bad WHERE path = ?", (path,))
        if body is not None:
            self.index.connection.execute("INSERT INTO bad VALUES (?, ?)", (path, body))

    def replace_projects(self, path: str, rows: Iterable[tuple[str, int, int, str]]) -> None:
        """The projects (directory, document number, line, Role) that a file's Roles name."""
        self.index.connection.execute("DELETE FROM project WHERE path = ?", (path,))
        self.index.connection.executemany(
            "INSERT INTO project VALUES (?, ?, ?, ?, ?)", ((directory, path, number, line, ref) for directory, number, line, ref in rows)
        )

    def replace_findings(self, owners: Iterable[str], rows: Iterable[tuple[str, bytes]]) -> None:
        """Forget the findings of some owners, and note others."""
        self.index.connection.executemany("DELETE FROM finding WHERE owner = ?", ((owner,) for owner in owners))
        self.index.connection.executemany("INSERT INTO finding VALUES (?, ?)", rows)

    def replace_secrets(self, rows: Iterable[tuple[str, str]]) -> None:
        """The token of each secret in use."""
        self.index.connection.execute("DELETE FROM secret")
        self.index.connection.executemany("INSERT INTO secret VALUES (?, ?)", rows)

    def inputs_of(self, groups: Sequence[str]) -> set[int]:
        """The sets of inputs of some hosts."""
        found: set[int] = set()
        for part in _parts(groups):
            query = f"SELECT DISTINCT inputs FROM manifest WHERE ref IN ({_marks(part)}) AND inputs IS NOT NULL"  # noqa: S608
            found.update(number for (number,) in self._rows(query, part))
        return found

    def drop_unused(self, sets: Iterable[int]) -> None:
        """Forget those of the sets of inputs that no host has any more."""
        for number in sets:
            if not self._rows("SELECT 1 FROM manifest WHERE inputs = ? LIMIT 1", (number,)):
                names = self._rows("SELECT names FROM inputs WHERE id = ?", (number,))[0][0].split("\n")
                self.index.connection.executemany("DELETE FROM used WHERE input = ? AND inputs = ?", ((name, number) for name in names))
                self.index.connection.execute("DELETE FROM inputs WHERE id = ?", (number,))
        self._inputs.clear()


def _parts(values: Sequence[object]) -> Iterator[list[object]]:
    return (list(values[start : start + _PART]) for start in range(0, len(values), _PART))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
