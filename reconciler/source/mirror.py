"""A bare mirror of a remote repository, fetched by the `git` program and read through libgit2.

In: a URL (https, http, ssh, file, or `host:path`), a directory for mirrors, credentials. Out: an up-to-date bare repository.
Why `git` for the network: OpenSSH's own configuration, host key checks, agents and jump hosts, and git's proxies and certificates, hold as
the administrator knows them, and a fetch can be ended. pygit2 1.21 has ssh, but gives its callback no host key to compare.
Secrets go by environment and files, never by argument. A new mirror is fetched beside its place and renamed, so that half a mirror is never
taken for a whole one; one process at a time fetches it (flock, held by the git program too, so that it outlives a killed parent).
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pygit2

from reconciler.errors import Permanent
from reconciler.source import errors
from reconciler.source.git_program import Credentials, run
from reconciler.source.repository import Repository

REFSPECS = tuple(f"+refs/{name}/*:refs/{name}/*" for name in ("heads", "tags", "pull", "merge-requests", "pull-requests"))
"""Branches, tags, and the merge refs of GitHub and Gitea, GitLab, Bitbucket."""

_SCHEME = re.compile(r"(https?|ssh|file)://", re.IGNORECASE)
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)")
_SCP_LIKE = re.compile(r"[A-Za-z0-9_][^/:\s]*:(?!//)[^\s]+")


def open_repository(location: str, mirrors: Path, credentials: Credentials | None = None, *, redirects: bool = True) -> Repository:
    """A local path in place, or the mirror of a URL, which is fetched now only if there is none yet. `redirects`: whether a server may send us elsewhere.

    Raises Permanent (not there, not a repository, credentials refused, read-only directory), Refused (another user's, a URL with a query),
    RetryLater (network, full disk).
    """
    if not is_remote(location):
        return Repository(location, Path(location).expanduser())
    if "?" in location or "#" in location:
        raise errors.url_with_secret(location, "a query or a fragment, which may be a secret and is nothing that git fetches")
    mirror = _Mirror(location, mirrors, replace(credentials or Credentials(), redirects=redirects))
    mirror.ensure()
    return MirroredRepository(location, mirror)


def is_remote(location: str) -> bool:
    """Whether a location is a URL or ssh's `host:path`; a path that exists is local. Raises Permanent for a scheme that is not allowed."""
    if _SCHEME.match(location):
        return True
    if Path(location).exists():
        return False
    if _OTHER_SCHEME.match(location):
        shown = errors.strip_credentials(location)
        raise Permanent(f"{shown} is no kind of URL that is fetched", hint="use https, ssh or file", code="url-scheme")
    return bool(_SCP_LIKE.fullmatch(location))


class MirroredRepository(Repository):
    """The mirror of a remote repository; `fetch` and `push` are the only calls that use the network."""

    def __init__(self, location: str, mirror: "_Mirror") -> None:
        super().__init__(location, mirror.path, mirror=True)
        self._source = mirror

    def fetch(self) -> None:
        """Bring the mirror up to date; the first call after the mirror was made has nothing to do. Raises RetryLater or Permanent."""
        self._source.update()
        self._reopen()

    def fetch_branch(self, url: str, branch: str) -> None:
        """Bring the commits of a branch of another repository, a fork's, into the mirror. Our credentials go to our own host alone. Raises RetryLater or
        Permanent."""
        self._source.fetch_branch(url, branch)
        self._reopen()

    def push(self, commit: str, branch: str, onto: str = "") -> None:
        """Make a branch of the remote repository point to a commit of the mirror: one that points to `onto`, or a new one. Raises RetryLater or Permanent, also
        if it points elsewhere."""
        self._source.push(commit, branch, onto)


class _Mirror:
    def __init__(self, url: str, mirrors: Path, credentials: Credentials) -> None:
        self.url, self.mirrors, self.credentials = url, mirrors, credentials
        self.shown = errors.strip_credentials(url)
        name = re.sub(r"[^A-Za-z0-9._-]", "-", self.shown.rstrip("/").rpartition("/")[2].removesuffix(".git"))[:40].lstrip(".-")
        self.path = mirrors / f"{name or 'repository'}-{hashlib.sha256(self.shown.encode()).hexdigest()[:16]}.git"
        self._new = False

    def ensure(self) -> None:
        """Make the mirror if there is none."""
        if self.path.exists():
            return
        with self._locked() as lock:
            if not self.path.exists():
                self._make(lock)
                self._new = True

    def update(self) -> None:
        """Fetch, unless the mirror has just been made."""
        if self._new:
            self._new = False
            return
        with self._locked() as lock:
            if not self.path.exists():
                self._make(lock)
            else:
                _clear(self.path)
                self._fetch(self.path, lock)

    def fetch_branch(self, url: str, branch: str) -> None:
        """Fetch from elsewhere, under a name of ours, which keeps the commits."""
        ours = urlsplit(url)[:2] == urlsplit(self.url)[:2]
        odd = "?" in url or "#" in url or not (ours or url.startswith(("https://", "ssh://")))
        if odd or not is_remote(url) or not pygit2.reference_is_valid_name(f"refs/heads/{branch}"):
            raise Permanent("the fork's repository or branch has no name that can be fetched", hint="look at the pull request", code="fork")
        name = hashlib.sha256(f"{url} {branch}".encode()).hexdigest()[:16]
        with self._locked() as lock:
            _clear(self.path)
            refspec = f"+refs/heads/{branch}:refs/octofleet/forks/{name}"
            arguments = ["fetch", "--no-tags", "--quiet", "--", url, refspec]
            run(arguments, self.path, url, self.credentials if ours else Credentials(), lock)

    def push(self, commit: str, branch: str, onto: str) -> None:
        """Send a commit as a branch that was at `onto`, or not there."""
        ref = f"refs/heads/{branch}"
        with self._locked() as lock:
            run(
                ["push", "--quiet", f"--force-with-lease={ref}:{onto}", "--", self.url, f"{commit}:{ref}"],
                self.path,
                self.url,
                self.credentials,
                lock,
            )

    def _make(self, lock: int) -> None:
        try:
            for stale in self.mirrors.glob(f".new-{self.path.name}-*"):
                shutil.rmtree(stale, ignore_errors=True)
            beside = Path(tempfile.mkdtemp(prefix=f".new-{self.path.name}-", dir=self.mirrors))
        except OSError as error:
            raise errors.from_system("write to", self.mirrors, error) from error
        try:
            pygit2.init_repository(str(beside), bare=True)
            self._fetch(beside, lock)
            beside.rename(self.path)
        except pygit2.GitError as error:
            raise Permanent(
                f"could not make a mirror in {self.mirrors}: {error}", hint="check its space and mode", code="mirror"
            ) from error
        except OSError as error:
            raise errors.from_system("write to", self.mirrors, error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _fetch(self, into: Path, lock: int) -> None:
        head = run(["ls-remote", "--symref", "--", self.url, "HEAD"], into, self.url, self.credentials, lock)
        run(["fetch", "--prune", "--no-tags", "--quiet", "--", self.url, *REFSPECS], into, self.url, self.credentials, lock)
        found = re.search(r"^ref: (refs/heads/\S+)\tHEAD$", head, re.MULTILINE)
        if found:
            run(["symbolic-ref", "HEAD", found[1]], into, self.url, self.credentials, lock)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.mirrors.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.mirrors / f"{self.path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise errors.from_system("write to", self.mirrors, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


def _clear(mirror: Path) -> None:
    """Remove what an interrupted fetch left: nobody else writes here while the lock is held."""
    left = [*mirror.glob("*.lock"), *(mirror / "refs").rglob("*.lock"), *(mirror / "objects" / "pack").glob("tmp_*")]
    for path in left:
        path.unlink(missing_ok=True)
    for path in (mirror / "objects").glob("tmp_objdir-*"):
        shutil.rmtree(path, ignore_errors=True)
