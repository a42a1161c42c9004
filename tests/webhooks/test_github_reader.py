"""GitHub's deliveries: the fields that matter of the payloads it documents, and hostile ones."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.peers.forges.double import SECRET
from tests.peers.forges.github import signed
from webhooks.forge import Commented, Delivery, PullChanged, Pushed, Unreadable, Unverified
from webhooks.github import GithubReader

READER = GithubReader()
REPOSITORY = {"id": 186853002, "name": "Hello-World", "full_name": "Codertocat/Hello-World", "private": False, "default_branch": "master"}
USER = {"login": "Codertocat", "id": 21031067, "type": "User", "site_admin": False}
PULL = {
    "action": "opened",
    "number": 2,
    "pull_request": {
        "id": 279147437,
        "number": 2,
        "state": "open",
        "title": "Update the README with new information.",
        "user": USER,
        "head": {"label": "Codertocat:changes", "ref": "changes", "sha": "ec26c3e57ca3a959ca5aad62de7213c562f8c821", "repo": REPOSITORY},
        "base": {"label": "Codertocat:master", "ref": "master", "sha": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "repo": REPOSITORY},
        "merged": False,
    },
    "repository": REPOSITORY,
    "sender": USER,
}
COMMENT = {
    "action": "created",
    "issue": {"number": 2, "title": "Update the README", "state": "open", "pull_request": {"html_url": "https://github.com/x/pull/2"}},
    "comment": {
        "id": 492700400,
        "user": USER,
        "created_at": "2019-05-15T15:20:21Z",
        "body": "octofleet plan",
        "author_association": "OWNER",
    },
    "repository": REPOSITORY,
    "sender": USER,
}
PUSH = {
    "ref": "refs/heads/master",
    "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "after": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e",
    "repository": REPOSITORY | {"created_at": 1557933565, "pushed_at": 1557933657},
    "pusher": {"name": "Codertocat", "email": "x@users.noreply.github.com"},
    "commits": [{"id": "f95f852bd8fca8fcc58a9a2d6c842781e32a215e", "added": ["README.md"], "removed": [], "modified": []}],
}
AT = datetime(2019, 5, 15, 15, 20, 21, tzinfo=UTC).timestamp()


def delivery(event: str, value: Any, secret: str = SECRET, **more: str) -> Delivery:
    headers, body = signed(event, value, secret=secret)
    return Delivery(headers={name.lower(): text for name, text in (headers | more).items() if text}, body=body)


@pytest.mark.parametrize(
    ("event", "payload", "said"),
    [
        ("pull_request", PULL, PullChanged(project="Codertocat/Hello-World", number=2)),
        ("pull_request", PULL | {"action": "synchronize"}, PullChanged(project="Codertocat/Hello-World", number=2)),
        ("pull_request", PULL | {"action": "closed"}, PullChanged(project="Codertocat/Hello-World", number=2)),
        ("pull_request", PULL | {"action": "labeled"}, None),
        (
            "issue_comment",
            COMMENT,
            Commented(project="Codertocat/Hello-World", number=2, comment="492700400", author="Codertocat", body="octofleet plan", at=AT),
        ),
        ("issue_comment", COMMENT | {"action": "edited"}, None),
        ("issue_comment", COMMENT | {"action": "deleted"}, None),
        ("issue_comment", COMMENT | {"issue": {"number": 1, "title": "Spelling error in the README file"}}, None),
        ("issue_comment", COMMENT | {"comment": {**COMMENT["comment"], "user": None}}, None),  # type: ignore[dict-item]
        ("push", PUSH, Pushed(project="Codertocat/Hello-World", branch="master", before=PUSH["before"], after=PUSH["after"])),
        ("push", PUSH | {"ref": "refs/tags/refs/heads/v1"}, None),
        ("ping", {"zen": "Anything added dilutes everything else.", "hook_id": 109948940}, None),
        ("star", {"action": "created"}, None),
    ],
)
def test_what_github_documents(event: str, payload: Any, said: Any) -> None:
    assert list(READER.events(delivery(event, payload))) == ([said] if said else [])


def test_the_old_signature_does_not_count() -> None:
    READER.verify(delivery("push", PUSH), [SECRET], 0.0)
    body = delivery("push", PUSH).body
    old = "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    for said in ({"x-hub-signature": old}, {"x-hub-signature-256": old}):
        with pytest.raises(Unverified):
            READER.verify(Delivery(headers=said, body=body), [SECRET], 0.0)


def test_a_name_or_number_out_of_bounds_is_unreadable() -> None:
    for event, payload in (
        ("pull_request", PULL | {"number": 0}),
        ("pull_request", PULL | {"number": 2**31}),
        ("pull_request", PULL | {"repository": {"full_name": "x" * 501}}),
        ("push", PUSH | {"after": "../.."}),
        ("push", PUSH | {"ref": "refs/heads/a\x00b"}),
        ("issue_comment", COMMENT | {"comment": {"id": 1, "user": USER, "body": "x", "created_at": "2019-05-15T15:20:21"}}),
    ):
        with pytest.raises(Unreadable):
            READER.events(delivery(event, payload))


def test_the_id_is_the_forges_and_otherwise_a_hash_of_kind_and_body() -> None:
    assert READER.id(delivery("push", PUSH, **{"X-GitHub-Delivery": "72d3162e"})) == "72d3162e"
    without = [READER.id(delivery(event, PUSH, **{"X-GitHub-Delivery": ""})) for event in ("push", "push", "ping")]
    assert without[0] == without[1] != without[2]


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("push", b'{"ref": "refs/heads/main"}'),
        ("pull_request", json.dumps(PULL | {"number": "2"}).encode()),
        ("pull_request", json.dumps(PULL | {"repository": None}).encode()),
        ("issue_comment", json.dumps(COMMENT | {"comment": {"id": 1, "user": USER, "body": "x", "created_at": "yesterday"}}).encode()),
        ("push", b'{"ref": "\xff"}'),
        ("", b"{}"),
    ],
)
def test_what_is_not_as_documented(event: str, body: bytes) -> None:
    with pytest.raises(Unreadable):
        READER.events(Delivery(headers={"x-github-event": event}, body=body))
