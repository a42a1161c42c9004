"""A commit against the one that its Fleet applied last: whether that is still there, and this one comes after it."""

from reconciler.errors import Permanent, Refused
from reconciler.source.repository import WORKING_COPY, Commit, Repository
from reconciler.types.plan import GuardVerdict
from reconciler.types.request import Request


def verdicts(
    repository: Repository, source: str, applied: tuple[str, str] | None, commit: Commit, request: Request
) -> tuple[GuardVerdict, ...]:
    """What the histories say against applying. With a base (a pull request's branch) they forbid applying alone, without one planning too."""
    if commit.id.startswith(WORKING_COPY):
        message = "the working copy is not a commit"
        return (GuardVerdict(guard="working-copy", refuses=True, message=message, hint="commit the changes, then plan without --watch"),)
    try:
        if applied is not None:
            check_history(repository, source, applied, commit, request)
    except Refused as error:
        if request.base is None:
            raise
        return (GuardVerdict(guard="history", refuses=True, message=error.message, hint=error.hint),)
    return ()


def check_history(repository: Repository, source: str, applied: tuple[str, str], commit: Commit, request: Request) -> None:
    """The commit must come after the one applied last, or be named explicitly and come before it. Raises `Refused`."""
    before, location = applied
    if request.accept_history:
        return
    if find_commit(repository, before) is not None:
        if repository.is_ancestor(before, commit.id):
            return
        if request.rev is not None and repository.is_ancestor(commit.id, before):
            return
    raise Refused(
        f"the Fleet {source} was last applied at commit {before[:12]} of {location}, and {commit.id[:12]} of {repository.location} does not come after it",
        hint="was the branch force-pushed, or is this another repository whose Fleet has the same name? "
        "Check, then go on with --accept-history, or rename this Fleet",
        code="history-rewritten",
    )


def check_own(repository: Repository, location: str, source: str, applied: tuple[str, str] | None, base: Commit) -> None:
    """Raises `Refused` for a Fleet that is applied from another location, as far as the base does not hold what was applied: then this one has moved."""
    if applied is None or applied[1] == location:
        return
    if find_commit(repository, applied[0]) is None or not repository.is_ancestor(applied[0], base.id):
        message = f"the Fleet {source} is applied from another repository"
        raise Refused(message, hint="give this Fleet another name", code="fleet-elsewhere")


def find_commit(repository: Repository, commit: str) -> Commit | None:
    """A commit, if the repository still has it."""
    try:
        return repository.commit(commit)
    except Permanent:
        return None
