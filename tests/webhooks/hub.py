"""A forge of the settings for tests, and deliveries to it."""

import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

from aiohttp import web

from reconciler import events
from reconciler.server.app import listening
from reconciler.settings import Followed
from reconciler.settings import Forge as Rules
from reconciler.store.engine import Store
from reconciler.store.followed import follow
from tests.peers.forges.double import BOT, SECRET
from tests.peers.forges.github import iso, signed
from webhooks.forges import make_forge
from webhooks.inbox import Gate, Inbox
from webhooks.watched import Watched, watched

RULES = Rules(name="hub", type="github", url="http://127.0.0.1:9", token_env="HUB_TOKEN", secrets_env=["HUB_SECRET"])
FOLLOWED = Followed(location="/repo", branch="main", forge="hub", project="acme/fleet")


def hub(rules: Rules = RULES, followed: Sequence[Followed] = (FOLLOWED,), account: str = BOT) -> Watched:
    return watched(rules, make_forge(rules), followed, {rules.name: account} if account else {})


def changed(number: int, project: str = "acme/fleet", action: str = "opened", **more: str) -> tuple[dict[str, str], bytes]:
    said = {"action": action, "number": number, "pull_request": {"number": number}, "repository": {"full_name": project}}
    return signed("pull_request", said, **more)


def commented(body: str, *, number: int = 1, author: str = "ada", comment: int = 7, at: float = 0.0) -> tuple[dict[str, str], bytes]:
    made = {"id": comment, "user": {"login": author}, "body": body, "created_at": iso(at or time.time())}
    issue = {"number": number, "pull_request": {}}
    return signed("issue_comment", {"action": "created", "issue": issue, "comment": made, "repository": {"full_name": "acme/fleet"}})


def pushed(branch: str, project: str = "acme/fleet") -> tuple[dict[str, str], bytes]:
    return signed("push", {"ref": f"refs/heads/{branch}", "before": "a" * 40, "after": "b" * 40, "repository": {"full_name": project}})


@dataclass
class Served:
    """An inbox that listens. `secrets` are those that hold now; `woken` counts calls."""

    store: Store
    port: int = 0
    secrets: list[str] = field(default_factory=lambda: [SECRET])
    woken: int = 0
    heard: list[Mapping[str, Any]] = field(default_factory=list)
    refused: list[Mapping[str, Any]] = field(default_factory=list)

    def send(self, message: tuple[Mapping[str, str], bytes], path: str = "/webhooks/hub", method: str = "POST") -> int:
        return self.answer(message, path, method)[0]

    def answer(
        self, message: tuple[Mapping[str, str], bytes], path: str = "/webhooks/hub", method: str = "POST"
    ) -> tuple[int, str, Mapping[str, str]]:
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            asked.request(method, path, body=message[1], headers=dict(message[0]))
            found = asked.getresponse()
            return found.status, found.read().decode(), dict(found.getheaders())
        finally:
            asked.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.read() as connection:
            return list(connection.rows(query))

    def results(self) -> list[str]:
        return [str(fields["result"]) for fields in self.heard]

    def wake(self) -> None:
        self.woken += 1


@contextmanager
def receiving(store: Store, of: Watched | None = None) -> Iterator[Served]:
    """An inbox for the forge `hub`, which listens and stores while the block lasts; `/repo` is followed."""
    with store.write() as connection:
        follow(connection, "/repo")
    served, stop = Served(store=store), Event()
    inbox = Inbox(store, {"hub": Gate(watched=of or hub(), secrets=lambda: served.secrets)}, served.wake)

    def hear(name: str, fields: Mapping[str, Any]) -> None:
        if name == "delivery":
            served.heard.append(fields)
        elif name == "delivery-refused":
            served.refused.append(fields)

    app = web.Application()
    app.router.add_post("/webhooks/{forge}", inbox.handle)
    thread = Thread(target=inbox.work, args=(stop,))
    events.listeners.append(hear)
    try:
        with listening(app, "127.0.0.1", 0) as served.port:
            thread.start()
            yield served
    finally:
        stop.set()
        thread.join()
        events.listeners.remove(hear)
