"""Signatures of commits, made by real keys with gpg and ssh-keygen, and commits that try to pass for signed."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
import pytest

from reconciler.errors import Permanent
from reconciler.source.repository import Repository
from reconciler.source.signatures import MOST_SIGNATURE, Trust, signatures, split
from reconciler.source.signers import LIMIT_S
from tests.conftest import program

LIMIT = 60


def run(*command: str, data: bytes = b"", home: Path | None = None) -> bytes:
    env = os.environ | ({"GNUPGHOME": str(home), "HOME": str(home)} if home else {})
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=LIMIT, env=env).stdout


@dataclass
class Keys:
    """People who sign: with OpenPGP in a home of their own, with SSH by a key file."""

    home: Path
    ssh: dict[str, Path] = field(default_factory=dict)

    def openpgp(self, who: str, expires: str = "never") -> None:
        run(
            "gpg",
            "--batch",
            "--passphrase",
            "",
            "--quick-gen-key",
            f"{who} <{who}@example.net>",
            "ed25519",
            "sign",
            expires,
            home=self.home,
        )

    def gpg_signed(self, who: str, payload: bytes, *more: str) -> bytes:
        return run("gpg", "--batch", "-u", f"{who}@example.net", *more, "--armor", "--detach-sign", data=payload, home=self.home)

    def export(self, who: str, into: Path) -> None:
        into.write_bytes(run("gpg", "--batch", "--armor", "--export", f"{who}@example.net", home=self.home))

    def ssh_key(self, who: str) -> str:
        """Makes one; gives its public line."""
        self.ssh[who] = self.home / f"ssh_{who}"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(self.ssh[who]))
        return " ".join(self.ssh[who].with_suffix(".pub").read_text().split()[:2])

    def ssh_signed(self, who: str, payload: bytes, namespace: str = "git") -> bytes:
        return run("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.ssh[who]), data=payload)


@pytest.fixture(scope="module")
def keys() -> Iterator[Keys]:
    """Ada and Eve with OpenPGP, `old` whose key has expired, `gone` whose key is revoked; Grace and Mallory with SSH."""
    for name, package in (("gpg", "gpg"), ("gpg-agent", "gpg-agent"), ("gpgconf", "gpgconf"), ("ssh-keygen", "openssh-client")):
        program(name, package)
    with tempfile.TemporaryDirectory(prefix="sig") as directory:  # a short path: an agent's socket is in it
        made = Keys(home=Path(directory))
        made.home.chmod(0o700)
        for who in ("ada", "eve", "gone"):
            made.openpgp(who)
        run("gpg", "--batch", "--passphrase", "", "--faked-system-time", "20200101T000000", "--quick-gen-key", "old <old@example.net>", "ed25519",
            "sign", "20200201T000000", home=made.home)  # fmt: skip
        for who in ("grace", "mallory", "late", "banned", "other"):
            made.ssh_key(who)
        yield made
        run("gpgconf", "--kill", "all", home=made.home)


@pytest.fixture(scope="module")
def signers(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of keys that are known."""
    directory = tmp_path_factory.mktemp("signers")
    for who in ("ada", "old", "gone"):
        keys.export(who, directory / f"{who}.asc")
    revocation = (keys.home / "openpgp-revocs.d" / f"{fingerprint(keys, 'gone')}.rev").read_bytes().replace(b":-----BEGIN", b"-----BEGIN")
    with tempfile.TemporaryDirectory(prefix="rev") as other:
        run("gpg", "--batch", "--import", data=(directory / "gone.asc").read_bytes(), home=Path(other))
        run("gpg", "--batch", "--import", data=revocation, home=Path(other))
        (directory / "gone.asc").write_bytes(run("gpg", "--batch", "--armor", "--export", home=Path(other)))
    lines = {who: keys.ssh[who].with_suffix(".pub").read_text().strip() for who in keys.ssh}
    (directory / "allowed_signers").write_text(
        "# people\n"
        f'grace@example.net namespaces="git" {lines["grace"]}\n'
        f'late@example.net valid-after="20200101",namespaces="git",valid-before="20200201" {lines["late"]}\n'
        f"banned@example.net {lines['banned']}\n"
        f'other@example.net namespaces="file" {lines["other"]}\n'
    )
    (directory / "revoked_keys").write_text(f"{lines['banned']}\n")
    (directory / "README").write_text("not a key\n")
    return directory


def fingerprint(keys: Keys, who: str) -> str:
    said = run("gpg", "--batch", "--with-colons", "--fingerprint", f"{who}@example.net", home=keys.home).decode()
    return next(line.split(":")[9] for line in said.splitlines() if line.startswith("fpr"))


@dataclass
class History:
    """A repository to which commits are added, each on the one before."""

    git: pygit2.Repository
    last: str = ""

    def payload(self, message: str = "one", extra: bytes = b"") -> bytes:
        tree = self.git.TreeBuilder()
        tree.insert("f", self.git.create_blob(message.encode()), pygit2.enums.FileMode.BLOB)
        parent = f"parent {self.last}\n" if self.last else ""
        who = "Somebody <somebody@example.net> 1767268800 +0000"
        return f"tree {tree.write()}\n{parent}author {who}\ncommitter {who}\n".encode() + extra + f"\n{message}\n".encode()

    def add(self, raw: bytes) -> str:
        self.last = str(self.git.odb.write(pygit2.enums.ObjectType.COMMIT, raw))
        self.git.references.create("refs/heads/main", self.last, force=True)
        return self.last

    def repository(self) -> Repository:
        return Repository("r", Path(self.git.path))


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(git=pygit2.init_repository(str(tmp_path / "r.git"), bare=True, initial_head="main"))
    made.add(made.payload("root"))
    return made


def signed(payload: bytes, *found: bytes, name: bytes = b"gpgsig") -> bytes:
    """The commit with signatures, as Git writes them: after the committer."""
    head, _, rest = payload.partition(b"\n\n")
    headers = b"".join(b"\n" + name + b" " + signature.strip().replace(b"\n", b"\n ") for signature in found)
    return head + headers + b"\n\n" + rest


def trust(history: History, raw: bytes, signers: Path) -> tuple[Trust, str, str]:
    (found,) = signatures(history.repository(), None, history.add(raw), signers)
    return found.trust, found.signer, found.reason


def test_what_is_signed_by_a_known_key_is_good_and_names_come_from_our_directory(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    assert trust(history, signed(payload, keys.gpg_signed("ada", payload)), signers) == (Trust.GOOD, "ada", "")
    payload = history.payload("two")
    assert trust(history, signed(payload, keys.ssh_signed("grace", payload)), signers) == (Trust.GOOD, "grace@example.net", "")


def test_git_itself_signs_and_is_understood(history: History, keys: Keys, signers: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    git = ("git", "-C", str(copy), "-c", "user.name=x", "-c", "user.email=x@example.net")
    run("git", "clone", "-q", history.git.path, str(copy))
    base = history.last
    sign = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={keys.ssh['grace']}")
    run(*git, *sign, "commit", "-q", "-S", "--allow-empty", "-m", "by ssh", home=keys.home)
    run(*git, "-c", "user.signingKey=ada@example.net", "commit", "-q", "-S", "--allow-empty", "-m", "by gpg", home=keys.home)
    run(*git, "commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "unsigned")
    found = signatures(Repository("copy", copy / ".git"), base, "HEAD", signers)
    assert [(item.trust, item.signer) for item in found] == [(Trust.UNSIGNED, ""), (Trust.GOOD, "ada"), (Trust.GOOD, "grace@example.net")]


def test_keys_that_are_not_known_expired_or_revoked(history: History, keys: Keys, signers: Path) -> None:
    expected = {
        ("gpg", "eve"): (Trust.UNKNOWN_KEY, "an OpenPGP key that is not known"),
        ("gpg", "gone"): (Trust.BAD, "its key was revoked"),
        ("ssh", "mallory"): (Trust.UNKNOWN_KEY, "an SSH key that is not known"),
        ("ssh", "late"): (Trust.EXPIRED, "its key is not valid at this time"),
        ("ssh", "banned"): (Trust.BAD, "its key was revoked, or is not for Git"),
        ("ssh", "other"): (Trust.BAD, "its key was revoked, or is not for Git"),
    }
    for (kind, who), verdict in expected.items():
        payload = history.payload(who)
        made = keys.gpg_signed(who, payload) if kind == "gpg" else keys.ssh_signed(who, payload)
        assert trust(history, signed(payload, made), signers) == (verdict[0], "", verdict[1]), who
    payload = history.payload("old")
    made = keys.gpg_signed("old", payload, "--faked-system-time", "20200115T000000")
    assert trust(history, signed(payload, made), signers)[0] is Trust.EXPIRED
    payload = history.payload("nothing")
    assert trust(history, payload, signers) == (Trust.UNSIGNED, "", "no signature")


def test_a_signature_that_has_expired(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    raw = signed(payload, keys.gpg_signed("ada", payload, "--default-sig-expire", "seconds=1"))
    ends = time.monotonic() + LIMIT
    while (found := trust(history, raw, signers)[0]) is Trust.GOOD and time.monotonic() < ends:
        time.sleep(0.2)
    assert found is Trust.EXPIRED


def test_a_signature_of_something_else_is_bad(history: History, keys: Keys, signers: Path) -> None:
    for sign in (lambda payload: keys.gpg_signed("ada", payload), lambda payload: keys.ssh_signed("grace", payload)):
        other = sign(history.payload("another tree"))
        assert trust(history, signed(history.payload("this tree"), other), signers)[0] is Trust.BAD
        payload = history.payload()
        assert trust(history, signed(payload.replace(b"\none\n", b"\nOne\n"), sign(payload)), signers)[0] is Trust.BAD


def test_a_signature_for_another_purpose_is_bad(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    assert trust(history, signed(payload, keys.ssh_signed("grace", payload, namespace="file")), signers)[0] is Trust.BAD


def test_more_than_one_signature_is_bad(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    good, other = keys.gpg_signed("ada", payload), keys.ssh_signed("mallory", payload)
    for raw in (
        signed(payload, good, other),
        signed(payload, other, good),
        signed(payload, good, good),
        signed(signed(payload, good), other, name=b"gpgsig-sha256"),
        signed(payload, good, name=b"gpgsig-sha256"),
        signed(payload, good + other),
        signed(payload, good + good),
    ):
        assert trust(history, raw, signers)[0] is Trust.BAD


def test_a_signed_message_is_no_signature_of_a_commit(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    inline = run("gpg", "--batch", "-u", "ada@example.net", "--armor", "--sign", data=b"hello", home=keys.home)
    inline = inline.replace(b"PGP MESSAGE", b"PGP SIGNATURE")
    assert trust(history, signed(payload, inline), signers)[0] is Trust.BAD
    clear = run("gpg", "--batch", "-u", "ada@example.net", "--clear-sign", data=b"hello", home=keys.home)
    assert trust(history, signed(payload, clear), signers)[0] is Trust.BAD
    text = keys.gpg_signed("ada", payload, "--textmode")
    assert trust(history, signed(payload, text), signers)[0] is Trust.BAD
    weak = keys.gpg_signed("ada", payload, "--digest-algo", "SHA1")
    assert trust(history, signed(payload, weak), signers)[0] is Trust.BAD


def test_a_header_in_another_header_or_in_the_message_is_no_signature(history: History, keys: Keys, signers: Path) -> None:
    nested = keys.gpg_signed("ada", b"x")
    inside = b"mergetag object 0\n gpgsig " + nested.strip().replace(b"\n", b"\n ") + b"\n"
    assert trust(history, history.payload(extra=inside), signers)[0] is Trust.UNSIGNED
    said = history.payload("gpgsig " + nested.decode().replace("\n", "\n "))
    assert trust(history, said, signers)[0] is Trust.UNSIGNED
    payload = history.payload(extra=inside)
    assert trust(history, signed(payload, keys.gpg_signed("ada", payload)), signers) == (Trust.GOOD, "ada", "")


@pytest.mark.parametrize(
    "text", [b"", b"x", b"-----BEGIN PGP SIGNATURE-----\n", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n", b"\xff\x00" * 50]
)
def test_rubbish_is_not_trusted(history: History, signers: Path, text: bytes) -> None:
    assert trust(history, signed(history.payload(), text), signers)[0] in (Trust.BAD, Trust.UNKNOWN_KEY)


def test_what_is_too_large_is_bad_and_no_program_sees_it(history: History, keys: Keys, signers: Path) -> None:
    payload = history.payload()
    huge = signed(payload, keys.gpg_signed("ada", payload) + b"A" * MOST_SIGNATURE)
    assert trust(history, huge, signers) == (Trust.BAD, "", "the signature is too large")
    assert trust(history, history.payload("m" * (2 << 20)), signers) == (Trust.BAD, "", "the commit is too large")


def test_too_many_commits_are_not_trusted(history: History, signers: Path) -> None:
    base = history.last
    for number in range(1002):
        history.add(history.payload(str(number)))
    found = signatures(history.repository(), base, history.last, signers)
    assert len(found) == 1001
    assert (found[-1].trust, found[-1].reason) == (Trust.BAD, "not looked at, nor what is before it: too much, after 1,000 commits")
    assert signatures(history.repository(), base, history.last, signers, limit_s=-1)[0].trust is Trust.BAD


def test_a_program_that_hangs_is_ended(
    history: History, keys: Keys, signers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    payload = history.payload()
    raw = signed(payload, keys.ssh_signed("grace", payload))
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "ssh-keygen").write_text("#!/bin/sh\nexec sleep 600\n")
    (slow / "ssh-keygen").chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    monkeypatch.setattr("reconciler.source.signers.LIMIT_S", 0.2)
    assert LIMIT_S > 1
    assert trust(history, raw, signers) == (Trust.BAD, "", "verifying it took more than 0 s")


def test_neither_home_nor_agent_nor_settings_of_the_user_count(
    history: History, keys: Keys, signers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "GNUPGHOME"):
        monkeypatch.setenv(name, str(keys.home))  # eve's key is known there
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    before = {path.name for path in keys.home.iterdir()}
    payload = history.payload()
    assert trust(history, signed(payload, keys.gpg_signed("eve", payload)), signers)[0] is Trust.UNKNOWN_KEY
    assert {path.name for path in keys.home.iterdir()} == before


def test_without_keys_nothing_is_known_and_without_a_directory_there_is_an_error(
    history: History, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    payload = history.payload()
    for made in (keys.gpg_signed("ada", payload), keys.ssh_signed("grace", payload)):
        assert trust(history, signed(payload, made), empty)[0] is Trust.UNKNOWN_KEY
    with pytest.raises(Permanent, match="cannot read the signers"):
        signatures(history.repository(), None, history.last, tmp_path / "missing")
    (empty / "ada.asc").write_text("no key\n")
    with monkeypatch.context() as patch, pytest.raises(Permanent, match=r"cannot read the signers in .*ada\.asc: Permission denied"):

        def denied(self: Path) -> bytes:
            raise PermissionError(13, "Permission denied", str(self))

        patch.setattr(Path, "read_bytes", denied)
        signatures(history.repository(), None, history.last, empty)
    with pytest.raises(Permanent, match="holds no OpenPGP key"):
        signatures(history.repository(), None, history.last, empty)


def test_what_is_signed_is_all_but_the_signature() -> None:
    raw = b"tree 1\nauthor a\ngpgsig one\n two\n \nencoding x\n\nmessage\n\ngpgsig no\n"
    assert split(raw) == (b"tree 1\nauthor a\nencoding x\n\nmessage\n\ngpgsig no\n", [(b"gpgsig", b"one\ntwo\n\n")])
