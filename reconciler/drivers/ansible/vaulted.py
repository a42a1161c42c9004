"""Vault texts of an exported project: which vault ids its run needs, and what they hold, for redaction.

In: the project's directory and the passwords of the vault ids that its tenant may use. Out: names of ids, and plaintexts. Everything that
Ansible could decrypt is decrypted here first: what cannot be is refused before anything runs, and what can be is known to the redactor.
Bounded. Must not: write anything, or put a plaintext into an error.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ruamel.yaml.error import YAMLError

from reconciler.errors import Permanent, Refused
from reconciler.secrets import ansible_vault
from reconciler.secrets.vault_text import MAX_YAML_BYTES, SUFFIXES, VaultText, is_whole, texts, values
from reconciler.source.tree import printable
from reconciler.types.values import SecretValue

MAX_TEXTS = 1_000
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_SECRETS = 2_000
MAX_SECRET = 64 * 1024
LEAST = 4
"""A value of a vaulted file that is shorter is not taken for a secret: `80` and `no` stand in every log."""
NESTED = 2
"""How deep vault texts may stand in vaulted files."""
_WORDS = frozenset({"true", "false", "null"})


@dataclass(slots=True, kw_only=True)
class Opened:
    """`ids`: the vault ids that opened something. `secrets`: what came out, as far as it is text."""

    ids: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    count: int = 0

    def values(self) -> list[SecretValue]:
        """The secrets, wrapped."""
        return [SecretValue(value) for value in self.secrets]


def opened(project: Path, told_as: str, tenant: str, passwords: Callable[[], Mapping[str, SecretValue]]) -> Opened:
    """All vault texts of a project, opened. `told_as` is its path in the repository; `passwords` is asked only if there is a text. Raises Refused
    for an id that is not granted, Permanent for a text that no password opens, that is damaged, and for too many."""
    found = Opened()
    keys = cache(lambda: {name: value.reveal().encode("utf-8", "surrogateescape") for name, value in passwords().items()})
    for path, data in _files(project):
        _open(found, keys, tenant, printable(str(Path(told_as, path.relative_to(project)))), data, NESTED)
    return found


def _files(project: Path) -> Iterator[tuple[Path, bytes]]:
    """What may hold a vault text, in a stable order. Links are left alone: the exporter lets them lead to what is here anyhow."""
    for directory, below, names in os.walk(project):
        below.sort()
        for name in sorted(names):
            path = Path(directory, name)
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            with path.open("rb") as file:
                head = file.read(32)
                if is_whole(head) or (path.suffix in SUFFIXES and status.st_size <= MAX_YAML_BYTES):
                    yield path, head + file.read(MAX_FILE_BYTES)


def _open(found: Opened, keys: Callable[[], Mapping[str, bytes]], tenant: str, path: str, data: bytes, depth: int) -> None:
    for text in texts(path, data):
        found.count += 1
        if found.count > MAX_TEXTS:
            raise _too_much(path, f"it is one of more than {MAX_TEXTS} vault values")
        name, plaintext = _decrypted(keys(), tenant, f"{path}:{text.line}", text)
        found.ids.add(name)
        _take(found, path, text, plaintext)
        if depth and text.whole:
            _open(found, keys, tenant, path, plaintext, depth - 1)


def _decrypted(keys: Mapping[str, bytes], tenant: str, where: str, text: VaultText) -> tuple[str, bytes]:
    """The id that opened a text, and what it holds."""
    try:
        envelope = ansible_vault.parse(text.text)
        for name in sorted(keys, key=lambda name: name != envelope.label):
            try:
                return name, ansible_vault.decrypt(envelope, keys[name])
            except ansible_vault.WrongPassword:
                continue
    except ansible_vault.Malformed as error:
        hint = "encrypt it anew with `octofleet vault encrypt`, or remove it"
        raise Permanent(f"{where} holds a vault value that cannot be read: {error}", hint=hint, code="vault-malformed") from None
    if envelope.label not in keys and (envelope.label or not keys):
        needs = f"the vault id {envelope.label}" if envelope.label else "a vault id"
        hint = f"an administrator adds it to secrets.vault_ids.{envelope.label or 'NAME'}.tenants in the server's settings"
        raise Refused(f"{where} needs {needs}, and the tenant {tenant} may not use it", hint=hint, code="secret-not-granted")
    hint = "check the password files of the vault ids, or encrypt it anew with `octofleet vault encrypt`"
    raise Permanent(f"no password of {', '.join(sorted(keys))} opens the vault value at {where}", hint=hint, code="vault-password")


def _take(found: Opened, path: str, text: VaultText, plaintext: bytes) -> None:
    try:
        told = plaintext.decode()
    except UnicodeDecodeError:
        return  # Ansible shows no diff of it
    pieces = [told] if not text.whole else _pieces(told)
    found.secrets |= {piece for piece in pieces if piece.strip()}
    if len(found.secrets) > MAX_SECRETS or any(len(piece) > MAX_SECRET for piece in pieces):
        raise _too_much(path, f"what the project's vault values hold is more than {MAX_SECRETS} texts, or one longer than {MAX_SECRET}")


def _pieces(told: str) -> list[str]:
    """What is secret in a vaulted file: the values of YAML, or the whole text where it is none (a key, a certificate)."""
    try:
        found = list(values(told.encode()))
    except YAMLError:
        return [told]
    if len(found) == 1:
        return [told, *found]
    return [value for value in found if len(value) >= LEAST and value.lower() not in _WORDS]


def _too_much(path: str, why: str) -> Permanent:
    hint = "keep such secrets in a secret store, and name them by secretRef in manifests"
    return Permanent(f"{path} cannot be kept out of logs: {why}", hint=hint, code="vault-too-many")
