"""A project as it is in a commit, read for `octofleet explain`: which files Ansible finds for a name, and what they say.

In: a repository, a commit's tree. Out: files in Ansible's own order (`DataLoader.find_vars_files`), and documents with positions. What cannot
be read is noted, never raised.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reconciler.desired.reader import Document, positions, read
from reconciler.secrets.vault_text import is_whole
from reconciler.source.repository import Repository
from reconciler.types.origin import Origin

EXTENSIONS = ("", ".yml", ".yaml", ".json")
HOPS = 8
"""So many links are followed, one to the next, and so deep are directories looked into."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One document of variables (or plays) and where it stands."""

    path: str
    data: bytes
    document: Document

    @cached_property
    def _positions(self) -> Any:
        return positions(self.path, self.data)

    def origin(self, pointer: str) -> Origin:
        """Line and column of what is at an RFC 6901 pointer."""
        found: Origin = self._positions.origin(self.document.index, pointer)
        return found


@dataclass(frozen=True, kw_only=True)
class ProjectTree:
    """`unread`: what could not be read, and why, each once."""

    repository: Repository
    tree: str
    unread: dict[str, str] = field(default_factory=dict)
    known: dict[str, tuple[str, str] | None] = field(default_factory=dict)

    def named(self, directory: str, name: str) -> Iterator[Source]:
        """What Ansible reads for a name in a directory: of `NAME`, `NAME.yml`, `NAME.yaml` and `NAME.json` the first that is there; all files of it if
        it is a directory."""
        for extension in EXTENSIONS:
            path = posixpath.join(directory, name + extension)
            if (kind := self.kind(path)) is not None:
                yield from self._below(path, HOPS) if kind == "tree" else self.file(path)
                return

    def _below(self, path: str, depth: int) -> Iterator[Source]:
        found = self._entry(path)
        entries = self.repository.entries(found[1]) if found and depth else []
        for entry in sorted(entries, key=lambda entry: entry.name):
            extension = posixpath.splitext(entry.name)[1]
            inner = posixpath.join(path, entry.name)
            if entry.name.startswith(".") or entry.name.endswith("~"):
                continue
            if entry.kind == "tree":
                yield from self._below(inner, depth - 1) if not extension else ()
            elif extension in EXTENSIONS and self.kind(inner) != "tree":
                yield from self.file(inner)

    def file(self, path: str) -> Iterator[Source]:
        """The document of a file, if there is one that can be read."""
        found = self._entry(path)
        if found is None or found[0] != "blob":
            self.unread[path] = "it is not a file of this repository"
            return
        data = self.repository.blob(found[1])
        if is_whole(data):
            self.unread[path] = "it is encrypted as a whole"
            return
        reading = read(path, data)
        for problem in reading.problems[:1]:
            self.unread[path] = f"line {problem.origin.line}: {problem.message}"
        yield from (Source(path=path, data=data, document=document) for document in reading.documents[:1])

    def kind(self, path: str) -> str | None:
        """`blob` or `tree`, behind links that stay in the repository; None where nothing is."""
        found = self._entry(path)
        return found[0] if found else None

    def _entry(self, path: str) -> tuple[str, str] | None:
        if path not in self.known:
            self.known[path] = self._looked_up(path)
        return self.known[path]

    def _looked_up(self, path: str) -> tuple[str, str] | None:
        where = posixpath.normpath(path)
        for _ in range(HOPS):
            if where.startswith(("..", "/")):
                break
            found = self.repository.entry(self.tree, "" if where == "." else where)
            if found is None or found[0] != "link":
                return found
            target = self.repository.blob(found[1]).decode(errors="replace")
            where = posixpath.normpath(posixpath.join(posixpath.dirname(where), target))
        self.unread[path] = "it is a link that leads out of the repository, or in a circle"
        return None
