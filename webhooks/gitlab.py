"""GitLab: its webhooks and its REST API (v4). A project is its path, with all its groups: `acme/infra/fleet`; a pull request is a merge request.

An identity is `gitlab:USERNAME`.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct

from reconciler.settings import Forge as Rules
from webhooks.forge import (
    Commented,
    Delivery,
    Event,
    Forge,
    Gone,
    Later,
    Pull,
    PullChanged,
    PullState,
    Pushed,
    Reader,
    Status,
    Unreadable,
    Unverified,
    Verdict,
)  # fmt: skip
from webhooks.forges import Token
from webhooks.http import Http, decoded, linked, path_of
from webhooks.reading import Commit, Id, Name, Number, branch_of, delivery_id, known, same, seconds
from webhooks.rest import RestClient, Said, api_url

SIGNING = "whsec_"
"""What a signing token begins with; a secret without it is one that deliveries carry."""
REPLAY_S = 300.0
"""How old a signed delivery may be; GitLab's clock may differ as much."""


class _Kind(Struct):
    object_kind: str = ""


class _Project(Struct):
    path_with_namespace: Name


class _User(Struct):
    username: Name


class _Number(Struct):
    iid: Number


class _MergeRequestHook(Struct):
    project: _Project
    object_attributes: _Number


class _Note(Struct):
    id: Id
    note: str
    created_at: str
    noteable_type: str = ""
    updated_at: str = ""
    system: bool = False
    action: str = ""


class _NoteHook(Struct):
    project: _Project
    user: _User
    object_attributes: _Note
    merge_request: _Number | None = None


class _PushHook(Struct):
    project: _Project
    ref: Name
    before: Commit
    after: Commit


class GitLabReader(Reader):
    """Deliveries carry a secret token (`X-Gitlab-Token`), or from GitLab 19 on are signed as Standard Webhooks say (`webhook-signature`)."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: float) -> None:
        """See `Reader`. Secrets that begin with `whsec_` sign, the others are carried."""
        signing = [secret for secret in secrets if secret.startswith(SIGNING)]
        if signing and "webhook-signature" in delivery.headers:
            return _verify_signed(delivery, signing, now)
        said = delivery.headers.get("x-gitlab-token", "")
        if not said:
            raise Unverified("the delivery has neither a signature nor X-Gitlab-Token; give its webhook a secret token")
        if not any([same(secret, said) for secret in secrets if secret and secret not in signing]):  # noqa: C419 - all are compared
            raise Unverified("X-Gitlab-Token is none of the secrets")
        return None

    def id(self, delivery: Delivery) -> str:
        """See `Reader`. `Idempotency-Key` stays over retries; the UUID of older versions is shared by events that follow from one."""
        return delivery_id(delivery, ("webhook-id", "idempotency-key"), delivery.headers.get("x-gitlab-event-uuid", ""))

    def events(self, delivery: Delivery) -> Sequence[Event]:
        """See `Reader`."""
        match decoded(delivery.body, _Kind, "the delivery").object_kind:
            case "merge_request":
                hook = decoded(delivery.body, _MergeRequestHook, "the delivery (merge_request)")
                return [PullChanged(project=hook.project.path_with_namespace, number=hook.object_attributes.iid)]
            case "note":
                return _note(decoded(delivery.body, _NoteHook, "the delivery (note)"))
            case "push":
                return _push(decoded(delivery.body, _PushHook, "the delivery (push)"))
        return []


def _verify_signed(delivery: Delivery, secrets: Sequence[str], now: float) -> None:
    key, at = (delivery.headers.get(name, "") for name in ("webhook-id", "webhook-timestamp"))
    said = delivery.headers["webhook-signature"].split()
    signed = f"{key}.{at}.".encode(errors="surrogateescape") + delivery.body
    good = [same(f"v1,{_signature(secret, signed)}", one) for secret in secrets for one in said[:10]]
    if not any(good):
        raise Unverified("webhook-signature is not that of the delivery under any of the signing tokens")
    if not (at.isascii() and at.isdigit() and len(at) < 13) or abs(now - int(at)) > REPLAY_S:
        raise Unverified("the delivery was signed too long ago, or in the future: set the clocks, or it was sent again by somebody")


def _signature(secret: str, signed: bytes) -> str:
    try:
        key = b64decode(secret.removeprefix(SIGNING), validate=True)
    except ValueError:
        raise Unverified("a signing token of the settings is not in base64 after whsec_; copy it anew") from None
    return b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _note(hook: _NoteHook) -> Sequence[Event]:
    """Only what somebody wrote just now: no notes of GitLab's own, no edits. Versions without `action` tell of edits by the time."""
    note = hook.object_attributes
    fresh = note.action == "create" or (not note.action and note.updated_at in ("", note.created_at))
    if note.noteable_type != "MergeRequest" or hook.merge_request is None or note.system or not fresh:
        return []
    project, number = hook.project.path_with_namespace, hook.merge_request.iid
    at = seconds(note.created_at)
    return [Commented(project=project, number=number, comment=str(note.id), author=hook.user.username, body=note.note, at=at)]


def _push(hook: _PushHook) -> Sequence[Event]:
    branch = branch_of(hook.ref)
    found = Pushed(project=hook.project.path_with_namespace, branch=branch, before=known(hook.before), after=known(hook.after))
    return [found] if branch else []


class _MergeRequest(Struct):
    iid: Number
    title: str
    state: str
    source_branch: Name
    target_branch: Name
    target_project_id: Id
    web_url: str
    author: _User | None = None
    source_project_id: Id | None = None
    sha: Commit | None = None
    merge_commit_sha: Commit | None = None
    squash_commit_sha: Commit | None = None
    draft: bool = False


class _ApiNote(Struct):
    id: Id
    body: str
    created_at: str
    updated_at: str
    author: _User | None = None
    system: bool = False
    imported: bool = False


class _Made(Struct):
    id: Id


STATES = {"opened": PullState.OPEN, "locked": PullState.OPEN, "merged": PullState.MERGED, "closed": PullState.CLOSED}
"""`locked`: it is being merged."""
WORDS = {Verdict.PENDING: "pending", Verdict.SUCCESS: "success", Verdict.FAILURE: "failed", Verdict.ERROR: "failed"}


class GitLabClient(RestClient):
    """Calls with a personal, group or project access token of the scope `api`."""

    async def pull(self, project: str, number: int) -> Pull:
        """See `Client`."""
        return _pull(project, await self._http.get(_request(project, number), _MergeRequest))

    async def open_pulls(self, project: str, branch: str) -> Sequence[Pull]:
        """See `Client`. One that GitLab has not prepared yet is left for the next time."""
        path = path_of("projects", project, "merge_requests")
        onto = {"target_branch": branch} if branch else {}
        pages = self._http.pages(path, list[_MergeRequest], linked, state="opened", per_page=100, **onto)
        found = {one.iid: one async for page in pages for one in page if branch in ("", one.target_branch) and one.sha}
        return [_pull(project, one) for one in found.values()]

    async def open_pull(self, project: str, branch: str, onto: str, title: str, body: str) -> Pull:
        """See `Client`."""
        said = {"source_branch": branch, "target_branch": onto, "title": title, "description": body}
        answer = await self._http.call("POST", path_of("projects", project, "merge_requests"), json=said)
        return _pull(project, answer.read(_MergeRequest))

    async def put_status(self, project: str, commit: str, status: Status) -> None:
        """See `Client`. GitLab refuses to set a status to what it is; then it is as it should be."""
        body = {"state": WORDS[status.verdict], "name": status.context, "description": status.text}
        if status.url:
            body["target_url"] = status.url
        try:
            await self._http.call("POST", path_of("projects", project, "statuses", commit), json=body)
        except Unreadable as error:
            if f"from :{WORDS[status.verdict]}" not in str(error):
                raise

    async def acknowledge(self, project: str, number: int, comment: str) -> None:
        """See `Client`. GitLab answers 404 for a reaction that is there."""
        path = _request(project, number) + path_of("notes", comment, "award_emoji")
        try:
            await self._http.call("POST", path, json={"name": "eyes"})
        except Gone as error:
            if "already been taken" not in str(error):
                raise

    async def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        path = _request(project, number) + "/notes"
        async for page in self._http.pages(path, list[_ApiNote], linked, sort="desc", order_by="created_at", per_page=100):
            for note in page:
                if not note.system:
                    yield _comment(note)
            if page and seconds(page[-1].created_at) < since:
                return

    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        await self._http.call("PUT", _request(project, number) + path_of("notes", comment), json={"body": body})

    async def _add(self, project: str, number: int, body: str) -> str:
        answer = await self._http.call("POST", _request(project, number) + "/notes", json={"body": body})
        return str(answer.read(_Made).id)

    async def _whoami(self) -> str:
        return (await self._http.get("/user", _User)).username


def _request(project: str, number: int) -> str:
    return path_of("projects", project, "merge_requests", number)


def _pull(project: str, found: _MergeRequest) -> Pull:
    """A squash that is fast-forwarded has no merge commit, and a fast-forward alone neither: then what was pushed is the head itself."""
    if found.state not in STATES:
        raise Unreadable(f"a merge request has the state {found.state[:40]!r}, which is not documented")
    if found.sha is None:
        raise Later(f"GitLab has not prepared {project}!{found.iid} yet", after_s=2.0)
    state = STATES[found.state]
    return Pull(
        project=project,
        number=found.iid,
        title=found.title,
        author=found.author.username if found.author else "",
        state=state,
        head=found.sha,
        head_branch=found.source_branch,
        base_branch=found.target_branch,
        fork=found.source_project_id != found.target_project_id,
        url=found.web_url,
        fetch=f"refs/merge-requests/{found.iid}/head",
        merged_as=(found.merge_commit_sha or found.squash_commit_sha or found.sha) if state is PullState.MERGED else "",
        draft=found.draft,
    )


def _comment(note: _ApiNote) -> Said:
    author = note.author.username if note.author else ""
    original = note.created_at == note.updated_at and not note.imported
    return Said(id=str(note.id), author=author, body=note.body, at=seconds(note.created_at), original=original)


def make(rules: Rules, token: Token) -> Forge:
    """A GitLab of the settings, gitlab.com by default. Raises `OctofleetError`."""
    http = Http(api_url(rules, "/api/v4", "https://gitlab.com"), lambda: {"PRIVATE-TOKEN": token()}, ca_file=rules.ca_file)
    return Forge(name=rules.name, kind="gitlab", reader=GitLabReader(), client=GitLabClient(http))
