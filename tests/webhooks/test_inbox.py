"""Deliveries over HTTP: what is stored for each, what is refused and how, and that nothing that was answered with 2xx is lost."""

import asyncio
import hashlib
import hmac
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from reconciler.store.engine import Store, Unavailable, sqlite_url
from reconciler.store.pulls import NEVER, PullKey, ask_pull, forget_deliveries
from tests.peers.forges.double import BOT, SECRET
from tests.peers.forges.github import signed
from tests.webhooks.hub import Served, changed, commented, hub, pushed, receiving
from webhooks import inbox
from webhooks.watched import BODY_MOST

PULLS = "SELECT forge, project, number, location FROM pull WHERE asked_at IS NOT NULL ORDER BY number"


@pytest.fixture
def sqlite(tmp_path: Path) -> Store:
    return Store(sqlite_url(tmp_path))


def test_a_pull_request_is_asked_for_once(store: Store) -> None:
    with receiving(store) as served:
        message = changed(7)
        assert [served.send(message), served.send(message)] == [202, 200]
        assert served.send(changed(7)) == 202, "another delivery about the same one"
        assert served.rows(PULLS) == [("hub", "acme/fleet", 7, "/repo")]
        assert served.results() == ["accepted", "double", "accepted"] and served.woken == 2
        assert len(served.rows("SELECT id FROM delivery")) == 2


def test_the_name_is_the_settings_own(store: Store) -> None:
    with receiving(store) as served:
        assert served.send(changed(7, "ACME/Fleet")) == 202
        assert served.rows(PULLS) == [("hub", "acme/fleet", 7, "/repo")]


def test_comments_that_are_commands(store: Store) -> None:
    with receiving(store) as served:
        assert served.send(commented("octofleet apply\r\nplease", comment=1)) == 202
        assert served.send(commented(" Octofleet\tplan", comment=2, author="Bob")) == 202
        assert served.send(commented("octofleet plan " + "x" * 10_000, comment=3)) == 202
        assert served.send(commented("octofleet plan", comment=3)) == 202, "the first text of a comment counts"
        ignored = [
            commented("thanks!", comment=4),
            commented("octofleets plan", comment=5),
            commented("please\noctofleet apply", comment=6),
            commented("> octofleet apply", comment=7),
            commented("octofleet apply", comment=8, author=BOT.upper()),
            commented("octofleet apply", comment=9, author="x" * 300),
        ]
        assert [served.send(message) for message in ignored] == [200] * len(ignored)
        unreadable = [commented("octofleet apply", comment=10, number=0), commented("octofleet apply", comment=11, number=1 << 40)]
        assert [served.send(message) for message in unreadable] == [400] * len(unreadable)
        found = served.rows("SELECT comment, author, body, number FROM pull_command ORDER BY comment")
        assert [(comment, author, number) for comment, author, _, number in found] == [("1", "ada", 1), ("2", "Bob", 1), ("3", "ada", 1)]
        assert found[0][2] == "octofleet apply\r\nplease" and len(found[2][2]) == BODY_MOST
        assert served.rows(PULLS) == [("hub", "acme/fleet", 1, "/repo")]


def test_a_push_has_the_branch_and_what_is_open_onto_it_looked_at(store: Store) -> None:
    with store.write() as connection:
        for number, branch, state in ((1, "main", "open"), (2, "other", "open"), (3, "main", "closed")):
            ask_pull(connection, PullKey(forge="hub", project="acme/fleet", number=number), "/repo")
            values = (branch, state, NEVER, number)
            connection.run("UPDATE pull SET branch = ?, state = ?, due_at = ?, asked_at = NULL WHERE number = ?", values)
    with receiving(store) as served:
        assert served.send(pushed("other")) == 200
        assert served.rows("SELECT location FROM repository WHERE asked_at IS NOT NULL") == served.rows(PULLS) == []
        assert served.send(pushed("main")) == 202
        assert served.rows("SELECT location FROM repository WHERE asked_at IS NOT NULL") == [("/repo",)]
        assert [number for *_, number, _ in served.rows(PULLS)] == [1]


def test_what_nobody_follows_and_what_matters_not_leaves_nothing(store: Store) -> None:
    with receiving(store) as served:
        messages = [changed(1, "acme/other"), changed(1, action="labeled"), pushed("main", "eve/fleet"), signed("ping", {"zen": "x"})]
        assert [served.send(message) for message in messages] == [200] * 4
        assert served.rows("SELECT id FROM delivery") == served.rows(PULLS) == []
        assert served.results() == ["ignored"] * 4 and served.woken == 0


def test_what_is_refused_says_nothing(sqlite: Store) -> None:
    with receiving(sqlite) as served:
        headers, body = changed(1)

        def but(**more: str) -> tuple[Mapping[str, str], bytes]:
            return {name: text for name, text in (headers | more).items() if text}, body

        refused = [
            (but(**{"X-Hub-Signature-256": ""}), 401),
            (but(**{"X-Hub-Signature-256": "sha256=" + "0" * 64}), 401),
            ((headers, body + b" "), 401),
            (changed(1, secret="another"), 401),
            (but(**{"Content-Type": "application/x-www-form-urlencoded"}), 415),
            (but(**{"Content-Type": ""}), 415),
            (but(**{"Content-Encoding": "gzip"}), 415),
            (signed("pull_request", {"action": "opened"}), 400),
            (signed("", {}), 400),
            (commented("octofleet apply", at=time.time() - inbox.DELIVERIES_S - 60), 401),
        ]
        for message, status in refused:
            assert served.answer(message)[:2] == (status, ""), message
        assert served.answer(changed(1), "/webhooks/elsewhere")[:2] == (404, "")
        assert served.send(changed(1), method="PUT") == served.send(changed(1), method="GET") == 405
        assert served.rows("SELECT id FROM delivery") == served.rows(PULLS) == []
        assert Counter(served.results())["unverified"] == 5
        assert {fields["forge"] for fields in served.heard if fields["result"] == "unknown"} == {""}, (
            "no name of a stranger's becomes a label"
        )
        told = {fields["error"] for fields in served.refused if fields["why"] == "unverified"}
        assert {text.partition(":")[0] for text in told} == {
            "the delivery is not signed",
            "x-hub-signature-256 is not the signature of the delivery under any of the secrets",
            "its comment is too old",
        }
        assert any("missing required field" in fields["error"] for fields in served.refused if fields["why"] == "unreadable")
        assert SECRET not in str(served.refused)
        assert served.send(changed(1)) == 202


def test_a_large_body_is_not_read_and_a_slow_one_not_waited_for(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "BODY_S", 0.3)
    monkeypatch.setattr(inbox, "BODY_MOST", 10_000)
    with receiving(sqlite) as served:
        head = "POST /webhooks/hub HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        for more, status in (
            ("Content-Length: 10001\r\n\r\n", b"413"),
            ("Transfer-Encoding: chunked\r\n\r\n" + "400\r\n" + "x" * 1024 + "\r\n", b"408"),
            ("Transfer-Encoding: chunked\r\n\r\n" + ("400\r\n" + "x" * 1024 + "\r\n") * 20, b"413"),
            ("Content-Length: 100\r\n\r\n{", b"408"),
        ):
            with socket.create_connection(("127.0.0.1", served.port), timeout=30) as raw:
                raw.sendall((head + more).encode())
                assert raw.recv(4096).split(b" ")[1] == status, more[:40]
        monkeypatch.setattr(inbox, "ALL_MOST", 50)
        assert served.send(changed(1)) == 503
        monkeypatch.setattr(inbox, "ALL_MOST", 150)
        assert [served.send(changed(number)) for number in range(1, 20)] == [202] * 19, "what was read is let go of"


def test_secrets_rotate(sqlite: Store) -> None:
    with receiving(sqlite) as served:
        served.secrets[:] = ["new", SECRET]
        assert [served.send(changed(1)), served.send(changed(2, secret="new"))] == [202, 202]
        served.secrets[:] = ["new"]
        assert [served.send(changed(3)), served.send(changed(4, secret="new"))] == [401, 202]


@pytest.mark.parametrize("text", ["octofleet \0plan", "octofleet \ud800plan", "octofleet " + "\U0001f419" * 5000])
def test_hostile_text_is_stored(store: Store, text: str) -> None:
    made = json.loads(commented("octofleet plan", comment=5)[1])
    made["comment"]["body"] = text
    body = json.dumps(made).encode()  # with escapes, which a surrogate of its own needs
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = commented("octofleet plan")[0] | {"X-Hub-Signature-256": signature}
    with receiving(store) as served:
        answered = served.send((headers, body))
        found = served.rows("SELECT body FROM pull_command")
        assert (answered, len(found)) in ((202, 1), (400, 0)) and "\0" not in str(found)


def test_an_id_that_no_database_takes(store: Store) -> None:
    """What is sent under one is known by its kind and body."""
    with receiving(store) as served:
        for number, name in enumerate(("x" * 5000, "é" * 300, "a\xffb"), start=1):
            assert served.send(changed(number, delivery=name)) == 202
            assert served.send(changed(number, delivery=name)) == 200
        assert all(len(found) <= 255 for (found,) in served.rows("SELECT id FROM delivery"))


def test_a_database_that_is_away_keeps_nothing_and_says_so(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(sqlite) as served:
        real, asked = Store.write, []

        def away(self: Store, *, alone: bool = True) -> object:
            asked.append(1)
            raise Unavailable("away")

        monkeypatch.setattr(Store, "write", away)
        status, _, headers = served.answer(changed(1))
        assert status == 503 and headers["Retry-After"] == "5" and len(asked) == 3
        monkeypatch.setattr(Store, "write", lambda self, *, alone=True: away(self) if len(asked) < 4 else real(self, alone=alone))
        assert served.send(changed(1)) == 202, "a short absence is waited for"


def test_one_that_cannot_be_stored_keeps_no_other_out(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = inbox.received

    def picky(connection: object, forge: str, name: str) -> bool:
        if name == "bad":
            raise ValueError(name)
        time.sleep(0.05)
        return real(connection, forge, name)  # type: ignore[arg-type]

    monkeypatch.setattr(inbox, "received", picky)
    with receiving(sqlite) as served:
        answers: list[int] = []
        senders = [
            threading.Thread(target=lambda n=n: answers.append(served.send(changed(n, delivery="bad" if n == 5 else f"d{n}"))))  # type: ignore[misc]
            for n in range(1, 12)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert sorted(answers) == [202] * 10 + [500]
        assert len(served.rows("SELECT id FROM delivery")) == 10


def test_too_many_that_wait_are_sent_away(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "WAITING_MOST", 3)
    monkeypatch.setattr(inbox, "STORED_S", 0.5)
    with receiving(sqlite) as served:
        with sqlite.write():  # somebody else writes for long
            answers = burst(served, [changed(number) for number in range(1, 30)])
            assert set(answers) == {503}
        monkeypatch.setattr(inbox, "STORED_S", 30.0)
        for number in (101, 102):
            while (status := burst(served, [changed(number)])) == [503]:  # what was sent away may still wait in its place
                time.sleep(0.05)
            assert status == [202]
        stored = {number for *_, number, _ in served.rows(PULLS)}
        assert {101, 102} <= stored


def burst(served: Served, messages: list[tuple[dict[str, str], bytes]], at_once: int = 50) -> list[int]:
    """Send all, so many at once; their statuses, 0 for those without an answer."""
    url = f"http://127.0.0.1:{served.port}/webhooks/hub"

    async def main() -> list[int]:
        gate = asyncio.Semaphore(at_once)

        async def one(message: tuple[dict[str, str], bytes]) -> int:
            async with gate:
                try:
                    async with session.post(url, data=message[1], headers=message[0]) as answer:
                        return answer.status
                except aiohttp.ClientError:
                    return 0

        async with aiohttp.ClientSession() as session:
            return list(await asyncio.gather(*(one(message) for message in messages)))

    return asyncio.run(main())


def test_a_thousand_deliveries_and_none_is_lost(store: Store) -> None:
    messages = [changed(number) for number in range(1, 901)] + [commented("octofleet plan", number=n, comment=n) for n in range(1, 101)]
    with receiving(store) as served:
        assert Counter(burst(served, messages + messages[:200])) == {202: 1000, 200: 200}
        assert served.rows("SELECT count(*) FROM delivery") == [(1000,)]
        assert len(served.rows(PULLS)) == 900 and served.rows("SELECT count(*) FROM pull_command") == [(100,)]
        assert served.woken < 1000, "many were committed together"


def test_two_processes_take_the_same_at_once(store: Store) -> None:
    messages = [changed(number) for number in range(1, 101)] + [pushed("main") for _ in range(100)]
    with receiving(store) as one, receiving(store) as other:
        answers: list[list[int]] = []
        threads = [
            threading.Thread(target=lambda s=s, m=m: answers.append(burst(s, m)))  # type: ignore[misc]
            for s, m in ((one, messages), (other, messages[::-1]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(status for several in answers for status in several) == {202: 200, 200: 200}
        assert len(one.rows(PULLS)) == 100


def test_what_is_forgotten_may_come_again(sqlite: Store) -> None:
    with receiving(sqlite, hub(account="")) as served:
        message = changed(1)
        assert served.send(message) == 202
        with sqlite.write() as connection:
            forget_deliveries(connection, connection.now() + 1)
        assert served.send(message) == 202, "it only has the pull request looked at"
