"""What one file of a tree contributes: its manifests, or that it is no manifest at all. Reads blobs through the tree and remembers their parse in the index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.desired.foreign import Owners, foreign
from reconciler.desired.manifest import Check, Parsed, parse
from reconciler.desired.merge import Rules
from reconciler.desired.packed import ONLY_HOSTS, pack_parsed, unpack_parsed
from reconciler.index.file import Index
from reconciler.stages import count
from reconciler.types.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What manifests are checked and merged by. `digest` covers all else that resources depend on besides the commit: the drivers and renderers."""

    kinds: Mapping[str, str | None]
    check: Check
    rules: Rules
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file that may hold manifests: path, id of its blob (hexadecimal), and the reason why it must not be read, if there is one."""

    path: str
    blob: str
    problem: Problem | None = None

    @property
    def blob_id(self) -> bytes:
        """The id as the index keeps it."""
        return bytes.fromhex(self.blob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Parses each blob once. `blob` gives its bytes."""

    index: Index
    contract: Contract
    blob: Callable[[str], bytes]

    def raw(self, file: SourceFile) -> Parsed:
        """The file as it reads, wherever it stands."""
        if file.problem is not None:
            return Parsed(problems=(file.problem,), broken=True)
        return unpack_parsed(file.path, self._packed(file))

    def only_hosts(self, file: SourceFile) -> bool:
        """Whether there is nothing in it but Hosts that are well-formed."""
        return file.problem is None and self._packed(file)[0] == ONLY_HOSTS

    def of(self, file: SourceFile, owners: Owners) -> Parsed:
        """What it contributes: nothing below an Ansible project."""
        owner = owners.of(file.path) if owners else None
        return self.raw(file) if owner is None else foreign(self.raw(file), owner)

    def _packed(self, file: SourceFile) -> bytes:
        return self.index.parsed(file.blob_id, lambda: self.packed(file.path, self.blob(file.blob)))

    def packed(self, path: str, data: bytes) -> bytes:
        """The parse of a file's bytes."""
        parsed = parse(path, data, self.contract.kinds, self.contract.check)
        count("documents_parsed", len(parsed.manifests) + len(parsed.unknown))
        return pack_parsed(parsed)
