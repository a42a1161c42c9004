"""Ansible Vault 1.1 and 1.2 (AES256), decrypted and encrypted. Written from the format's description; ansible-core (GPL) is never imported.

In: vault text, or a plaintext, and a password. Out: plaintext bytes, or vault text.
Follows docs.ansible.com, "Ansible Vault payload format": PBKDF2-HMAC-SHA256 with
10,000 rounds gives cipher key (32), HMAC key (32) and counter block (16); AES-256-CTR with PKCS #7 padding;
HMAC-SHA256 over the ciphertext.
"""

import hashlib
import hmac
import os
from binascii import Error, unhexlify
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CTR

_ROUNDS = 10_000
_BLOCK = 16
_WIDTH = 80


class Malformed(Exception):
    """The text is not an Ansible Vault value of version 1.1 or 1.2. Holds no part of it."""


class WrongPassword(Exception):
    """The password does not fit, or the text was changed: the two cannot be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A parsed value. `label` is the vault id that version 1.2 names, else empty."""

    label: str
    salt: bytes
    mac: bytes
    ciphertext: bytes


def parse(text: str) -> Envelope:
    """Header `$ANSIBLE_VAULT;1.1;AES256` or `$ANSIBLE_VAULT;1.2;AES256;label`, then hexadecimal. Raises Malformed."""
    lines = text.strip().splitlines()
    header = lines[0].strip().split(";") if lines else []
    if header[:1] != ["$ANSIBLE_VAULT"] or header[1:3] not in (["1.1", "AES256"], ["1.2", "AES256"]):
        raise Malformed("an unknown header")
    try:
        salt, mac, ciphertext = (unhexlify(part.strip()) for part in unhexlify("".join(lines[1:]).replace(" ", "")).split(b"\n", 2))
    except (Error, ValueError):
        raise Malformed("a damaged payload") from None  # the cause quotes the payload
    if not salt or len(mac) != 32 or not ciphertext or len(ciphertext) % _BLOCK:
        raise Malformed("a payload of the wrong length")
    return Envelope(label=header[3] if header[1] == "1.2" and len(header) > 3 else "", salt=salt, mac=mac, ciphertext=ciphertext)


def decrypt(envelope: Envelope, password: bytes) -> bytes:
    """The plaintext; about 5 ms of CPU. Raises WrongPassword, or Malformed when the padding is wrong."""
    derived = _derived(password, envelope.salt)
    if not hmac.compare_digest(hmac.digest(derived[32:64], envelope.ciphertext, "sha256"), envelope.mac):
        raise WrongPassword
    decryptor = _cipher(derived).decryptor()
    padded = decryptor.update(envelope.ciphertext) + decryptor.finalize()
    count = padded[-1]
    if not 1 <= count <= _BLOCK or padded[-count:] != bytes([count]) * count:
        raise Malformed("wrong padding")
    return padded[:-count]


def encrypt(plaintext: bytes, password: bytes, label: str) -> str:
    """Vault text of version 1.2 with a new salt: lines of at most 80 characters, without a line break at the end. `label` is the vault id."""
    salt = os.urandom(32)
    derived = _derived(password, salt)
    count = _BLOCK - len(plaintext) % _BLOCK
    encryptor = _cipher(derived).encryptor()
    ciphertext = encryptor.update(plaintext + bytes([count]) * count) + encryptor.finalize()
    parts = (salt, hmac.digest(derived[32:64], ciphertext, "sha256"), ciphertext)
    payload = b"\n".join(part.hex().encode() for part in parts).hex()
    return "\n".join([f"$ANSIBLE_VAULT;1.2;AES256;{label}", *(payload[at : at + _WIDTH] for at in range(0, len(payload), _WIDTH))])


def _derived(password: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, salt, _ROUNDS, 80)


def _cipher(derived: bytes) -> "Cipher[CTR]":
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415 - these three only where a vault value is used
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CTR  # noqa: PLC0415

    return Cipher(AES(derived[:32]), CTR(derived[64:]))
