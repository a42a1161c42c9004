"""Vault texts of one id encrypted anew for another, in the bytes of a file: everything else stays as it is. Pure but for salts.

In: a file's path and bytes, and two vault ids with their passwords. Out: the new bytes and the lines that changed. A text that should open
and does not, or that cannot be edited where it stands, is an error that names file and line. Must not: tell a plaintext.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.errors import Permanent
from reconciler.secrets import ansible_vault
from reconciler.secrets.vault_text import Place, VaultText, is_whole, may_hold, places, texts

UNNAMED = "default"
"""The vault id that a text of version 1.1 stands for, which names none (ansible-vault's own rule)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A vault id and its password."""

    name: str
    password: bytes

    def __repr__(self) -> str:
        return f"Key({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What became of a file: its bytes, the lines of the values that changed, and how many values belong to other ids."""

    data: bytes
    lines: tuple[int, ...]
    left: int


def rekeyed(path: str, data: bytes, old: Key, new: Key) -> Rekeyed:
    """The file with every value of `old` under `new`. Raises Permanent."""
    if not may_hold(path, data):
        return Rekeyed(data=data, lines=(), left=0)
    wanted: dict[str, str | None] = {}
    at: dict[str, Place] = {_normal(place.text): place for place in _places(data)}
    lines, left = [], 0
    for text in texts(path, data):
        where = f"{path}:{text.line}"
        fresh = _again(where, text, old, new)
        if fresh is None:
            left += 1
        elif _normal(text.text) not in at:
            hint = "put it below `!vault |`, one indented line after the other, as `octofleet vault encrypt` prints it"
            raise Permanent(f"{where} holds a vault value that cannot be edited as it is written", hint=hint, code="vault-form")
        else:
            lines.append(text.line)
        wanted.setdefault(_normal(text.text), fresh)
    return Rekeyed(data=b"".join(_edited(data, wanted)), lines=tuple(lines), left=left)


def _places(data: bytes) -> Iterator[Place]:
    """Of a vaulted file the one that is all of it; else every one."""
    found = places(data)
    if not is_whole(data):
        yield from found
        return
    first = next(found, None)
    if first is not None and not data[first.end :].strip():
        yield first


def _normal(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def _edited(data: bytes, wanted: dict[str, str | None]) -> Iterator[bytes]:
    done = 0
    for place in _places(data):
        fresh = wanted.get(_normal(place.text))
        if fresh is not None:
            yield data[done : place.start] + place.written(fresh)
            done = place.end
    yield data[done:]


def _again(where: str, text: VaultText, old: Key, new: Key) -> str | None:
    """The value under the new key; None if it belongs to another id, or has the new key already."""
    label = _label(text.text)
    if label not in ("", old.name):
        return None
    try:
        envelope = ansible_vault.parse(text.text)
        return ansible_vault.encrypt(ansible_vault.decrypt(envelope, old.password), new.password, new.name)
    except ansible_vault.Malformed as error:
        hint = "encrypt it anew, or remove it; nothing was changed"
        raise Permanent(f"{where} holds a vault value that cannot be read: {error}", hint=hint, code="vault-malformed") from None
    except ansible_vault.WrongPassword:
        if (not label and old.name != UNNAMED) or (label == new.name and _opens(envelope, new)):
            return None
    named = "names the vault id" if label else "names no vault id, which stands for"
    hint = "check the password files; nothing was changed"
    raise Permanent(
        f"the password of {old.name} does not open the value at {where}, which {named} {old.name}", hint=hint, code="vault-password"
    )


def _opens(envelope: ansible_vault.Envelope, key: Key) -> bool:
    try:
        ansible_vault.decrypt(envelope, key.password)
    except (ansible_vault.WrongPassword, ansible_vault.Malformed):
        return False
    return True


def _label(text: str) -> str:
    """The vault id that a header names, also above a damaged payload."""
    header = text.strip().split("\n", 1)[0].strip().split(";")
    return header[3].split()[0] if len(header) > 3 and header[1] == "1.2" and header[3].strip() else ""
