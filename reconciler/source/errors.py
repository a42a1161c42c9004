"""What can go wrong with a repository, as Octofleet's errors: what, where, next step.

In: an error of libgit2 or of the system. Out: an error of `reconciler.errors`. A message never holds a user name or password of a URL.
"""

import errno
import re
from pathlib import Path

from reconciler.errors import OctofleetError, Permanent, Refused, RetryLater

_SECRET = re.compile(r"(://)[^/\s@]*:[^/\s]*@|(https?://)[^/\s@:]+@|(://[^\s'\"?#]*)[?#][^\s'\"]*", re.IGNORECASE)


def strip_credentials(text: str) -> str:
    """The text without what may be a secret in any URL: `user:password@`, over http(s) a user alone (it may be a token), and all from `?` or `#` on."""
    while (plain := _SECRET.sub(lambda found: found[1] or found[2] or found[3], text)) != text:
        text = plain
    return text


def url_with_secret(location: str, what: str) -> Refused:
    """A URL that holds what must not be in it."""
    hint = "name it without; git.token_env in the settings names the variable that holds a token"
    return Refused(f"the URL {strip_credentials(location)} holds {what}", hint=hint, code="url-secret")


def not_a_repository(location: str, above: str | None) -> Permanent:
    """There is something at the path, but no repository. `above` is the repository that encloses it, if any."""
    hint = (
        f"it is inside the repository {above}; give that path" if above else f"make one with `git -C {location} init`, or give another path"
    )
    return Permanent(f"{location} is not a Git repository", hint=hint, code="not-a-repository")


def no_commits(location: str) -> Permanent:
    """A repository without any commit."""
    return Permanent(f"{location} has no commits yet", hint="commit the manifests, then try again", code="no-commits")


def unknown_revision(location: str, rev: str, near: list[str]) -> Permanent:
    """`rev` names no commit; `near` are names like it."""
    hint = f"did you mean {' or '.join(near)}?" if near else "give a branch, a tag or a commit id; a remote may need to be fetched first"
    return Permanent(f"{location} has no revision {rev!r}", hint=hint, code="unknown-revision")


def ambiguous_revision(location: str, rev: str) -> Permanent:
    """An abbreviated id fits several objects."""
    return Permanent(f"{rev!r} is the beginning of more than one id in {location}", hint="give more digits", code="ambiguous-revision")


def broken_object(location: str, what: str, error: Exception | None, *, mirror: bool) -> Permanent:
    """An object is missing, corrupt, or not what it should be."""
    hint = (
        "delete this mirror; it is fetched again"
        if mirror
        else f"run `git -C {location} fsck`; a shallow or partial clone needs `git fetch --unshallow`"
    )
    reason = f": {error}" if error is not None and str(error) else ""
    return Permanent(f"{location} lacks {what}, or it is corrupt{reason}", hint=hint, code="missing-object")


def cannot_open(location: str, error: Exception) -> OctofleetError:
    """libgit2 refused to open a directory that looks like a repository."""
    if "not owned by" in str(error):
        hint = f"if you trust it: git config --global --add safe.directory {location}"
        return Refused(f"{location} belongs to another user", hint=hint, code="repository-owner")
    return Permanent(
        f"{location} cannot be read as a Git repository: {error}", hint="check it with `git status` there", code="repository-unreadable"
    )


def from_system(doing: str, path: Path | str, error: OSError) -> OctofleetError:
    """A refusal of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RetryLater(f"could not {doing} {path}: the disk is full", after_s=60, hint="free some space", code="disk-full")
    if error.errno == errno.EROFS:
        return Permanent(f"could not {doing} {path}: it is read-only", hint="choose another --data-dir", code="read-only")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Permanent(f"could not {doing} {path}: permission denied", hint="check its owner and mode", code="unreadable")
    return Permanent(f"could not {doing} {path}: {error.strerror or error}", hint="check that the path is right", code="file-system")
