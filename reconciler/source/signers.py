"""Whose keys we know, and what they say of a signature: OpenPGP by `gpg` and SSH by `ssh-keygen`, as programs of their own.

In: a directory with `allowed_signers` and `revoked_keys` (as ssh-keygen has them) and OpenPGP keys (`ada.asc`, `grace.gpg`: the file's name is the signer's).
Out: a verdict. The programs see neither the user's home nor an agent nor the network, and have little time.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from reconciler.errors import Permanent

LIMIT_S = 10.0
ALLOWED, REVOKED, ANY_TIME = "allowed_signers", "revoked_keys", "at_any_time"
KEYS = (".asc", ".gpg")
OPENPGP, SSH = b"-----BEGIN PGP SIGNATURE-----\n", b"-----BEGIN SSH SIGNATURE-----\n"
NAMESPACE = "git"
OPTIONS = re.compile(rb',(?=(?:[^"]*"[^"]*")*[^"]*$)')
WEAK = frozenset({"1", "2", "3"})
"""MD5, SHA-1 and RIPEMD-160, as OpenPGP numbers them."""
GPG = ("--batch", "--no-tty", "--no-options", "--no-autostart", "--disable-dirmngr", "--no-auto-key-retrieve", "--no-auto-check-trustdb",
       "--trust-model", "always", "--status-fd", "1")  # fmt: skip


class Trust(StrEnum):
    """What is to be thought of a commit's signature."""

    GOOD = "good"
    UNKNOWN_KEY = "unknown-key"
    BAD = "bad"
    EXPIRED = "expired"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`signer` as our directory names him, only if it is good; `reason`, in our own words, why it is not."""

    trust: Trust
    signer: str = ""
    reason: str = ""


def bad(reason: str) -> Verdict:
    """A signature that is worth nothing."""
    return Verdict(trust=Trust.BAD, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Signers:
    """The keys of a directory, ready to be asked. `work` is a directory of our own, which is the programs' home; `people`: the signers by fingerprint."""

    work: Path
    people: Mapping[str, str] = field(default_factory=dict)

    def verdict(self, payload: bytes, signature: bytes) -> Verdict:
        """What a signature of these bytes is worth."""
        if signature.count(b"-----BEGIN ") > 1 or signature.count(b"-----END ") > 1:
            return bad("more than one signature in one")
        (self.work / "signature").write_bytes(signature)
        (self.work / "payload").write_bytes(payload)
        try:
            if signature.startswith(OPENPGP):
                return self._openpgp()
            if signature.startswith(SSH):
                return self._ssh()
        except subprocess.TimeoutExpired:
            return bad(f"verifying it took more than {LIMIT_S:.0f} s")
        return Verdict(trust=Trust.UNKNOWN_KEY, reason="neither an OpenPGP nor an SSH signature")

    def _openpgp(self) -> Verdict:
        if not self.people:
            return Verdict(trust=Trust.UNKNOWN_KEY, reason="no OpenPGP key is known")
        said = _run(self.work, ["gpg", *GPG, "--verify", "signature", "payload"]).stdout.decode(errors="replace")
        lines = [line.split()[1:] for line in said.splitlines() if line.startswith("[GNUPG:] ")]
        found = {words[0]: words for words in lines if words}
        if sum(words[:1] == ["NEWSIG"] for words in lines) != 1 or "PLAINTEXT" in found:
            return bad("not one signature alone")
        if "REVKEYSIG" in found:
            return bad("its key was revoked")
        if "EXPSIG" in found or "EXPKEYSIG" in found:
            return Verdict(trust=Trust.EXPIRED, reason="the signature or its key has expired")
        if "NO_PUBKEY" in found:
            return Verdict(trust=Trust.UNKNOWN_KEY, reason="an OpenPGP key that is not known")
        valid = found.get("VALIDSIG", [])
        if "GOODSIG" not in found or len(valid) < 11 or {"BADSIG", "ERRSIG"} & found.keys():
            return bad("the signature is not of this commit, or damaged")
        if valid[8] in WEAK or valid[9] != "00":
            return bad("made with a hash that is not safe any more" if valid[8] in WEAK else "not a signature of a document")
        signer = self.people.get(valid[10])
        return Verdict(trust=Trust.GOOD, signer=signer) if signer else Verdict(trust=Trust.UNKNOWN_KEY, reason="an unknown key")

    def _ssh(self) -> Verdict:
        if not (self.work / ALLOWED).exists():
            return Verdict(trust=Trust.UNKNOWN_KEY, reason="no SSH key is known")
        about = ["-n", NAMESPACE, "-s", "signature"]
        payload = (self.work / "payload").read_bytes()
        if _run(self.work, ["ssh-keygen", "-Y", "check-novalidate", *about], payload).returncode:
            return bad("the signature is not of this commit, not made for Git, or damaged")
        principals = self._principals(ALLOWED)
        if not principals:
            if self._principals(ANY_TIME):
                return Verdict(trust=Trust.EXPIRED, reason="its key is not valid at this time")
            return Verdict(trust=Trust.UNKNOWN_KEY, reason="an SSH key that is not known")
        revoked = ["-r", REVOKED] if (self.work / REVOKED).exists() else []
        for who in principals:
            if not _run(self.work, ["ssh-keygen", "-Y", "verify", *about, "-f", ALLOWED, "-I", who, *revoked], payload).returncode:
                return Verdict(trust=Trust.GOOD, signer=who)
        return bad("its key was revoked, or is not for Git")

    def _principals(self, allowed: str) -> list[str]:
        found = _run(self.work, ["ssh-keygen", "-Y", "find-principals", "-s", "signature", "-f", allowed])
        return found.stdout.decode(errors="replace").splitlines() if not found.returncode else []


@contextmanager
def signers(directory: Path) -> Iterator[Signers]:
    """The keys of a directory. Raises `Permanent` if it, a key in it, or a program is not there."""
    try:
        files = {path: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file() and _is_known(path)}
    except OSError as error:
        raise Permanent(
            f"cannot read the signers in {error.filename or directory}: {error.strerror}", hint="see the setting signers", code="signers"
        ) from error
    with tempfile.TemporaryDirectory(prefix="octofleet-signers-") as made:
        work, people = Path(made), dict[str, str]()
        for path, text in files.items():
            if path.suffix in KEYS:
                people |= dict.fromkeys(_imported(work, path, text), path.stem)
                continue
            _program("ssh-keygen", "openssh-client")
            (work / path.name).write_bytes(text)
            if path.name == ALLOWED:
                (work / ANY_TIME).write_bytes(b"\n".join(map(_timeless, text.splitlines())) + b"\n")
        yield Signers(work=work, people=people)


def _is_known(path: Path) -> bool:
    return path.suffix in KEYS or path.name in (ALLOWED, REVOKED)


def _timeless(line: bytes) -> bytes:
    """A line of allowed_signers without the times that its key is valid at."""
    who, _, rest = line.strip().partition(b" ")
    options, _, key = rest.strip().partition(b" ")
    if b"=" not in options:
        return line
    kept = b",".join(option for option in OPTIONS.split(options) if not option.lower().startswith(b"valid-"))
    return b" ".join(filter(None, (who, kept, key)))


def _imported(work: Path, path: Path, text: bytes) -> list[str]:
    """The fingerprints of the keys of a file, which are known from now on."""
    _program("gpg", "gpg")
    said = _run(work, ["gpg", *GPG, "--import"], text).stdout.decode(errors="replace")
    found = [line.split()[3] for line in said.splitlines() if line.startswith("[GNUPG:] IMPORT_OK ")]
    if not found:
        raise Permanent(f"{path} holds no OpenPGP key", hint="export it with gpg --armor --export", code="signers")
    return found


def _program(name: str, package: str) -> None:
    if shutil.which(name) is None:
        raise Permanent(f"the program {name} is not installed", hint=f"install it (Debian: {package})", code="signers")


def _run(work: Path, command: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    home = {"HOME": str(work), "GNUPGHOME": str(work), "LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)}
    return subprocess.run(command, input=data, capture_output=True, cwd=work, env=home, timeout=LIMIT_S, check=False)  # noqa: S603 - fixed programs
