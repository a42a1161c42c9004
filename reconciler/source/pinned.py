"""Commits of other repositories, which the server's settings allow: what a manifest names is fetched from nowhere else.

In: a URL and the whole id of a commit from a manifest, what URLs may begin with from the settings. Out: the repository's mirror, which has the
commit; the network is used only where the mirror lacks it. A server that leads elsewhere (an HTTP redirect) is not followed, submodules are
not fetched, and a URL is compared as it is written, so one that could be read in two ways is refused.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import pygit2

from reconciler.errors import OctofleetError, Permanent, Refused, RetryLater
from reconciler.source.git_program import Credentials, run
from reconciler.source.mirror import is_remote, open_repository
from reconciler.source.repository import Repository

REACH_S = 30.0
_WHOLE_ID = re.compile(r"[0-9a-f]{40}")
_ODD = re.compile(r"[?#\\%\s\x00-\x1f\x7f]|(^|[/:])\.\.?(/|$)|/-|^-|//-|@-|:-")
"""What makes a URL mean something else than it seems: queries, escapes, dots that climb, and names that ssh takes for options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """`allowed`: what URLs may begin with (`ansible.repositories`); a beginning ends where a name in the URL ends. `mirrors`: the directory of mirrors."""

    mirrors: Path
    allowed: Sequence[str]
    credentials: Credentials = field(default_factory=Credentials)

    def repository(self, url: str, commit: str) -> Repository:
        """The mirror of a repository, which has the commit. Raises `Refused` where the settings do not allow the URL, `Permanent` where there is no such
        repository or commit, `RetryLater` where it cannot be reached."""
        self.check(url)
        if not _WHOLE_ID.fullmatch(commit):
            raise Refused(f"{commit!r} is not the whole id of a commit", hint="give all 40 hexadecimal digits", code="repository-commit")
        try:
            found = open_repository(url, self.mirrors, self.credentials, redirects=False)
            if not _has(found, commit):
                found.fetch()
        except RetryLater as error:
            raise RetryLater(error.message, after_s=error.after_s, hint=error.hint, code="repository-unreachable") from error
        except OctofleetError as error:
            raise Permanent(error.message, hint=error.hint, code=f"repository-{error.code.removeprefix('repository-')}") from error
        if not _has(found, commit):
            message = f"{url} has no commit {commit[:10]} on a branch or tag"
            raise Permanent(message, hint="push it there, or name another one", code="repository-commit-missing")
        return found

    def check(self, url: str) -> None:
        """Raises `Refused` unless the settings allow the URL."""
        parts = urlsplit(url) if "://" in url else None
        secret = parts is not None and (parts.password is not None or (parts.scheme in ("http", "https") and parts.username is not None))
        if secret or _ODD.search(url) or not is_remote(url):
            raise Refused(f"the URL {_shown(url)} is not taken", hint="write it plainly, without a password", code="repository-url")
        if not any(_begins(url, prefix) for prefix in self.allowed):
            hint = "whoever runs the server can add its beginning to ansible.repositories in the settings"
            raise Refused(f"the settings do not allow the repository {_shown(url)}", hint=hint, code="repository-not-allowed")

    def reach(self, url: str) -> None:
        """Ask for the repository's branches, as a fetch would. Raises `Refused`, `Permanent` or `RetryLater`."""
        self.check(url)
        with tempfile.TemporaryDirectory() as empty, Path(os.devnull).open() as lock:
            pygit2.init_repository(empty, bare=True)
            run(["ls-remote", "--", url], Path(empty), url, replace(self.credentials, redirects=False), lock.fileno(), limit_s=REACH_S)

    def export(self, url: str, commit: str, path: str, into: Path) -> None:
        """Write a directory of it below `into`. Raises as `repository` does, and `Permanent` for a path that is not there or is unsafe."""
        found = self.repository(url, commit)
        found.export(found.commit(commit).tree, path, into)


def _has(repository: Repository, commit: str) -> bool:
    try:
        return repository.commit(commit).id == commit
    except Permanent:
        return False


def _begins(url: str, prefix: str) -> bool:
    """Whether a URL begins with a prefix that ends where one of its names does."""
    if not prefix or not url.startswith(prefix):
        return False
    rest = url[len(prefix) :]
    whole = "://" not in prefix or "/" in prefix.partition("://")[2]
    return prefix[-1] in "/:" or not rest or rest[0] == "/" or (rest == ".git" and whole)


def _shown(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//", url)[:200].encode("unicode_escape").decode()
