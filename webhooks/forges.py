"""The forges of the settings, made: which types there are, and the tokens and secrets that they use, read anew when they change."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from webhooks.forge import Denied, Forge

Token = Callable[[], str]
"""Gives the token that holds now. Raises `Denied`."""
Maker = Callable[[Rules, Token], Forge]


MODULES: Mapping[str, str] = {
    "github": "webhooks.github",
    "gitlab": "webhooks.gitlab",
    "gitea": "webhooks.gitea",
    "bitbucket": "webhooks.bitbucket",
    "bitbucket-server": "webhooks.bitbucket_server",
}
"""Where `make` is, by the `type` of the settings: a forge's library is imported where it is used. A client makes its connections at the first call, and
belongs to one event loop."""


def make_forge(rules: Rules) -> Forge:
    """One forge of the settings, with a client of its own. Raises `OctofleetError`."""
    maker: Maker = import_module(MODULES[rules.type]).make
    return maker(rules, token_of(rules))


def token_of(rules: Rules) -> Token:
    """What reads the token of a forge: empty if the settings name none (an App has keys instead). It raises `Denied` where it can read none."""
    read: Callable[[], str] = partial(_variable, rules.token_env) if rules.token_env else str
    if rules.token_file:
        read = SecretFile(Path(rules.token_file)).line

    def token() -> str:
        try:
            return read()
        except OctofleetError as error:
            raise Denied(error.message) from None

    return token


def secrets_of(rules: Rules) -> Callable[[], Sequence[str]]:
    """What reads the secrets of a forge's webhooks that can be read now: those of files again when they change. Raises `OctofleetError` if there are none."""
    reads: list[Token] = [SecretFile(Path(name)).line for name in rules.secret_files]
    reads += [partial(_variable, name) for name in rules.secrets_env]

    def read() -> list[str]:
        found, wrong = list[str](), list[OctofleetError]()
        for one in reads:
            try:
                found.append(one())
            except OctofleetError as error:
                wrong.append(error)
        if not found:
            raise wrong[0]
        return found

    return read


class SecretFile:
    """A file that holds one secret, without white space at either end; read again when it was written or replaced."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        self._seen: tuple[int, ...] = ()
        self._text = ""

    def text(self) -> str:
        """What it holds now. Raises `OctofleetError`, also for an empty file."""
        with self._lock:
            try:
                found = self._path.stat()
                seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
                if seen != self._seen:
                    self._text, self._seen = self._path.read_text().strip(), seen
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                hint = "write the secret there, readable for this user"
                raise OctofleetError(f"cannot read {self._path}: {why}", hint=hint, code="secret-missing") from None
            if not self._text:
                raise OctofleetError(f"{self._path} is empty", hint="write the secret there", code="secret-missing")
            return self._text

    def line(self) -> str:
        """The same of a file that holds one line. Raises `OctofleetError` also if it holds more."""
        found = self.text()
        if not found.isprintable():
            raise OctofleetError(
                f"{self._path} holds more than one line of text", hint="write one secret into each file", code="secret-missing"
            )
        return found


def _variable(name: str) -> str:
    """The secret in a variable of the environment."""
    if text := os.environ.get(name, "").strip():
        return text
    raise OctofleetError(f"the variable {name} is not set, or empty", hint=f"set {name} for the server", code="secret-missing")


def unreadable(rules: Rules) -> Iterator[tuple[str, str]]:
    """The settings of a forge (`secret_files`, ...) whose secrets cannot be read now, and why."""
    lines = [("secret_files", name) for name in rules.secret_files] + ([("token_file", rules.token_file)] if rules.token_file else [])
    variables = [("secrets_env", name) for name in rules.secrets_env] + ([("token_env", rules.token_env)] if rules.token_env else [])
    reads: list[tuple[str, Token]] = [(key, SecretFile(Path(name)).line) for key, name in lines]
    reads += [("app_key_file", SecretFile(Path(rules.app_key_file)).text)] if rules.app_key_file else []
    reads += [(key, partial(_variable, name)) for key, name in variables]
    for key, read in reads:
        try:
            read()
        except OctofleetError as error:
            yield key, error.message


def exposed(rules: Rules) -> Iterator[str]:
    """The files of a forge that everybody on this machine can read."""
    files = filter(None, (rules.token_file, rules.app_key_file, *rules.secret_files))
    return (name for name in files if Path(name).stat().st_mode & stat.S_IROTH)
