"""Trees of texts in memory, for compiling without Git."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import schemas
from reconciler.desired.check import Checker
from reconciler.desired.contribution import Contract, SourceFile
from reconciler.desired.difference import Changed
from reconciler.errors import Permanent
from reconciler.types.values import SecretRef

CONTRACT = Contract(kinds=dict.fromkeys(schemas.KINDS) | dict(schemas.PLANNED), check=Checker(read=True), rules=schemas.merge_rules())


def token(ref: SecretRef, tenant: str) -> str:
    return f"token-{tenant}-{ref.store}-{ref.key}"


@dataclass(frozen=True)
class Texts:
    """A tree of texts. `known`: the trees that it can be compared with, by id."""

    texts: Mapping[str, str]
    known: dict[str, "Texts"] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Mapping[str, str], known: "dict[str, Texts] | None" = None) -> "Texts":
        made = cls(dict(texts), {} if known is None else known)
        made.known[made.id] = made
        return made

    @property
    def id(self) -> str:
        return hashlib.sha1(repr(sorted(self.texts.items())).encode()).hexdigest()

    def _file(self, path: str) -> SourceFile | None:
        if path not in self.texts or not path.endswith(".yaml"):
            return None
        return SourceFile(path=path, blob=hashlib.sha1(self.texts[path].encode()).hexdigest())

    def files(self, below: str = "") -> Iterator[SourceFile]:
        for path in sorted(self.texts):
            file = self._file(path)
            if file is not None and (not below or path.startswith(f"{below}/")):
                yield file

    def blob(self, blob: str) -> bytes:
        texts = (text for tree in (self, *self.known.values()) for text in tree.texts.values())
        return next(text.encode() for text in texts if hashlib.sha1(text.encode()).hexdigest() == blob)

    def content(self, path: str) -> str | None:
        if path in self.texts:
            return hashlib.sha1(self.texts[path].encode()).hexdigest()
        below = [(name, text) for name, text in sorted(self.texts.items()) if name.startswith(f"{path}/") or not path]
        return hashlib.sha1(repr(below).encode()).hexdigest() if below else None

    def kind(self, path: str) -> str | None:
        return "blob" if path in self.texts else "tree" if self.content(path) else None

    def changed(self, before: str) -> Iterator[Changed]:
        if before not in self.known:
            raise Permanent("no such tree")
        old = self.known[before]
        for path in sorted({*self.texts, *old.texts}):
            if self.texts.get(path) != old.texts.get(path):
                yield Changed(path=path, before=old._file(path), after=self._file(path))

    def at(self, tree: str) -> "Texts":
        return self.known[tree]
