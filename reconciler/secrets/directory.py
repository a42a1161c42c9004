"""One secret from a directory of files, or from the environment. A key never leads out of its store.

In: a store and a key. Out: text. Errors name store and key, never a value.
"""

import os
import re
import stat
from pathlib import Path

from reconciler.errors import Permanent, Refused, RetryLater
from reconciler.secrets.settings import DirectoryStore, EnvStore

MAX_BYTES = 1024 * 1024

_FILE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}){0,7}")
_VARIABLE = re.compile(r"[A-Za-z0-9_]{1,128}")


def bad_key(store: str, key: str, rule: str) -> Permanent:
    """A key that does not fit the store's pattern."""
    return Permanent(f"{key[:80]!r} is no key of the secret store {store}", hint=rule, code="secret-key")


def missing(store: str, key: str, hint: str) -> Permanent:
    """A key that the store does not have."""
    return Permanent(f"the secret store {store} has no key {key!r}", hint=hint, code="secret-missing")


def from_environment(store: EnvStore, key: str) -> str:
    """The variable named prefix + key, as it is. Raises Permanent."""
    if not store.prefix:
        hint = f"set secrets.stores.{store.name}.prefix"
        raise Permanent(f"the secret store {store.name} has no prefix: every variable would be a secret", hint=hint, code="secret-settings")
    if not _VARIABLE.fullmatch(key):
        raise bad_key(store.name, key, "a key has letters, digits and _")
    value = os.environ.get(store.prefix + key)
    if value is None:
        raise missing(store.name, key, f"set {store.prefix}{key} in the server's environment and restart it")
    return value


def from_directory(store: DirectoryStore, key: str) -> str:
    """The file named by the key, less one line break at its end. Links count if they stay inside (Kubernetes mounts secrets so).

    Raises Permanent, Refused when everyone on the machine may read the file, RetryLater when the disk fails.
    """
    if not _FILE_KEY.fullmatch(key) or ".." in key:
        raise bad_key(store.name, key, "a key is a relative path of letters, digits, '.', '_' and '-', without '..'")
    try:
        root = store.path.resolve(strict=True)
        path = (root / key).resolve(strict=True)
        if not path.is_relative_to(root):
            hint = "put the file itself into the directory"
            raise Refused(
                f"the key {key!r} of the secret store {store.name} is a link that leaves the directory", hint=hint, code="secret-escape"
            )
        data = _read(store, key, path)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(store.name, key, f"put it into {store.path / key}") from None
    except PermissionError as error:
        hint = "let the server's user read it"
        raise Permanent(
            f"the server may not read the key {key!r} of the secret store {store.name}", hint=hint, code="secret-unreadable"
        ) from error
    except (OSError, RuntimeError) as error:
        message = f"the key {key!r} of the secret store {store.name} cannot be read ({type(error).__name__})"
        raise RetryLater(message, after_s=30, hint=f"check {store.path}", code="secret-unreadable") from error
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Permanent(
            f"the key {key!r} of the secret store {store.name} is not UTF-8", hint="store text", code="secret-encoding"
        ) from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _read(store: DirectoryStore, key: str, path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)  # of what is open, so that what is checked is what is read
        if not stat.S_ISREG(status.st_mode):
            raise bad_key(store.name, key, "a key names a regular file")
        if status.st_mode & stat.S_IROTH:
            hint = f"chmod o-rwx {path} (in Kubernetes: defaultMode: 0440)"
            raise Refused(
                f"everyone on this machine may read the key {key!r} of the secret store {store.name}", hint=hint, code="secret-mode"
            )
        if status.st_size > MAX_BYTES:
            raise bad_key(store.name, key, "a secret has at most 1 MiB")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)
