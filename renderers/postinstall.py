"""Shell commands that finish an installed system: accounts, keys, sudo rules and sshd.

In: the views of inputs.py and where the target is. Out: commands of one line each, without backslashes of our own, for a kickstart's %post
(inside the target) and for a preseed's late_command (outside, target at /target). Must not decide anything: fields say what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from renderers import escape, inputs
from renderers.contract import Text


@dataclass(frozen=True, slots=True)
class Target:
    """How a command reaches the installed system: the command to enter it, and its root directory as seen from outside."""

    enter: str = ""
    root: str = ""

    def write(self, path: str, *lines: str) -> str:
        """A command that makes `lines` the content of the file `path` (ours, plain characters), byte for byte."""
        words = " ".join(escape.shell(line) for line in lines)
        return f'for line in {words}; do printf %s "$line"; echo; done > {self.root}{path}'

    def run(self, *words: str) -> str:
        """The command made of `words`, each one argument, inside the target."""
        return self.enter + " ".join(escape.shell(word) for word in words)


def accounts(target: Target, users: tuple[inputs.User, ...]) -> list[str]:
    """Create groups and accounts with useradd(8)."""
    made: list[str] = []
    for user in users:
        made += [target.run("groupadd", "--force", group) for group in user.groups]
        words: list[str] = ["useradd", "--create-home", "--shell", user.shell]
        words += ["--system"] if user.system else []
        words += ["--comment", user.gecos] if user.gecos else []
        words += ["--uid", str(user.uid)] if user.uid is not None else []
        words += ["--groups", ",".join(user.groups)] if user.groups else []
        words += ["--password", user.hash] if user.hash else []
        made.append(target.run(*words, user.name))
        if user.hash and user.locked:
            made.append(target.run("usermod", "--lock", user.name))
    return made


def keys(target: Target, login: str, home: str, lines: tuple[Text, ...]) -> list[str]:
    """Put `lines` into the authorized_keys of `login`, whose home is `home` (both plain)."""
    if not lines:
        return []
    return [
        f"mkdir -p {target.root}{home}/.ssh",
        target.write(f"{home}/.ssh/authorized_keys", *lines),
        f"chmod 700 {target.root}{home}/.ssh",
        f"chmod 600 {target.root}{home}/.ssh/authorized_keys",
        target.run("chown", "-R", f"{login}:", f"{home}/.ssh"),
    ]


def sudo(target: Target, users: tuple[inputs.User, ...]) -> list[str]:
    """Write one sudoers file (its name has no dot, or sudo would skip it) and have visudo(8) check it."""
    rules = [f"{user.name} {rule}" for user in users for rule in user.sudo]
    if not rules:
        return []
    path = "/etc/sudoers.d/90-octofleet"
    return [target.write(path, *rules), f"chmod 440 {target.root}{path}", target.run("visudo", "-cf", path)]


def sshd(target: Target, values: Mapping[str, Any]) -> list[str]:
    """Allow or refuse SSH passwords; the file sorts first because sshd takes the first value it reads."""
    allowed = inputs.ssh_pwauth(values)
    if allowed is None:
        return []
    path = "/etc/ssh/sshd_config.d"
    return [
        f"mkdir -p {target.root}{path}",
        target.write(f"{path}/01-octofleet.conf", f"PasswordAuthentication {'yes' if allowed else 'no'}"),
    ]
