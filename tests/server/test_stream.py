"""Runs that are followed: everything once and in order, whatever breaks, and nothing that one does not see."""

import asyncio
import http.client
import json
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest

from reconciler.identity.access import Identity
from reconciler.identity.caller import Caller
from reconciler.identity.sight import Sight
from reconciler.reading.live import News, View, Watch, view_of
from reconciler.server import stream_reader
from reconciler.server.answer import Asked
from reconciler.server.app import Terms, listening
from reconciler.server.route import API
from reconciler.server.routes import ROUTES
from reconciler.server.site import Site as Pages
from reconciler.server.stream import QUEUE_MOST, Stream
from reconciler.server.stream_reader import AT_ONCE, Handing, Reader
from reconciler.server.streams import STREAMS_OF_ONE
from reconciler.server.terms import Limits
from reconciler.server.threads import Threads
from reconciler.store.archive import Line
from reconciler.store.engine import Store
from reconciler.store.live import Settled, lines_between
from reconciler.store.runs import write_log
from reconciler.wiring import Installation
from tests.gate.site import Site
from tests.server.process import Process
from tests.server.process import app as app_of
from tests.server.site import COOKIE, Web, doors, web
from tests.server.tenants import CALLERS, OF_BANK, VERA, change_both, two_tenants
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]
SHOP, ROOT, NARROW = {"Authorization": "Bearer token:shop"}, {"Cookie": f"{COOKIE}=github:root"}, {"Cookie": f"{COOKIE}=github:narrow"}


class Heard(NamedTuple):
    id: int | None
    event: str
    data: dict[str, Any]


class Following:
    """Who follows a run, in a thread; `heard` is complete when it has ended."""

    def __init__(self, served: Web, run: str, headers: dict[str, str], *, after: int = 0) -> None:
        self.heard: list[Heard] = []
        self._more = {"Last-Event-ID": str(after)} if after else {}
        self._connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
        self._connection.request("GET", f"{API}/runs/{run}/events", headers=headers | self._more)
        self.answer = self._connection.getresponse()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with closing(self._connection):
            self.heard += events(line.decode().rstrip("\n") for line in self.answer)

    def end(self) -> list[Heard]:
        self._thread.join(120)
        assert not self._thread.is_alive(), "it does not end"
        return self.heard

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.end() if one.event == "log" and one.id is not None]


def events(lines: Iterator[str]) -> Iterator[Heard]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, text = line.partition(": ")
        if line:
            fields[name] = text
        elif "data" in fields:
            yield Heard(int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"]))
            fields = {}


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    made = two_tenants(tmp_path, database_url)
    change_both(made)
    yield made
    made.store.close()


@pytest.fixture
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


def work(site: Site, run: str) -> None:
    while site.ended(run) == "running":
        site.work()


def log_of(site: Site, run: str) -> list[int]:
    return [number for (number,) in site.rows("SELECT id FROM log WHERE run = ? ORDER BY id", run)]


def test_all_of_a_run_as_it_goes_on(site: Site, served: Web) -> None:
    run = site.begin()
    following = [Following(served, run, ROOT) for _ in range(3)]
    work(site, run)
    for one in following:
        heard = one.end()
        assert one.ids == log_of(site, run) and one.ids
        ended = {(item.data["address"], item.data["status"]) for item in heard if item.event == "change"}
        assert ended == set(site.rows("SELECT address, status FROM item WHERE run = ?", run))
        assert (heard[-1].event, heard[-1].data["state"]) == ("run", "done") and heard[-1].data["endedAt"]


def test_it_may_take_longer_than_any_answer(site: Site) -> None:
    with web(site.installation, *CALLERS, terms=Terms(limits=Limits(answer_s=0.2))) as served:
        run = site.begin()
        one = Following(served, run, ROOT)
        time.sleep(1)
        work(site, run)
        assert one.ids == log_of(site, run)


def test_a_change_is_told_before_the_line_that_says_so(site: Site, served: Web) -> None:
    run = site.begin()
    one = Following(served, run, ROOT)
    work(site, run)
    known: set[str] = set()
    for item in one.end():
        if item.event == "change":
            known.add(item.data["address"])
        elif item.event == "log" and (words := item.data["text"].split())[0] in ("create", "update") and words[-1] == "done":
            assert words[1].rstrip(":") in known


def test_nothing_of_another_tenant(site: Site, served: Web) -> None:
    run = site.begin()
    shop, narrow = Following(served, run, SHOP), Following(served, run, NARROW)
    work(site, run)
    told, log = json.dumps(shop.end()), served.api(f"/runs/{run}/log?limit=500", "token:shop").json["lines"]
    assert [item.data["text"] for item in shop.end() if item.event == "log"] == [line["text"] for line in log] != []
    assert "shop/web-01" in told and not [word for word in OF_BANK if word in told]
    seen = {item.data["address"] for item in narrow.end() if item.event == "change"}
    assert seen and all("vault-01" in address for address in seen) and "web-" not in json.dumps(narrow.end())


def test_who_sees_nothing_follows_nothing(site: Site, served: Web) -> None:
    run = site.begin()
    assert served.ask("GET", f"{API}/runs/{run}/events", Cookie=f"{COOKIE}=github:nobody").status == 404
    assert served.ask("GET", f"{API}/runs/{run}/events").status == 401


def test_whoever_comes_back_misses_nothing_and_hears_nothing_twice(site: Site, served: Web) -> None:
    run = site.begin()
    work(site, run)
    all_of_it = Following(served, run, ROOT).ids
    assert all_of_it == log_of(site, run)
    for number, last in enumerate(all_of_it[:-1], 1):
        again = Following(served, run, ROOT, after=last)
        assert (again.answer.status, again.ids) == (200, all_of_it[number:])


def test_what_is_over_is_not_told_again(site: Site, served: Web) -> None:
    run = site.begin()
    work(site, run)
    last = [one.id for one in Following(served, run, SHOP).end()][-1]
    assert last, "also where the last line is none that he sees"
    assert Following(served, run, SHOP, after=last).answer.status == 204


def test_a_cursor_that_is_none(site: Site, served: Web) -> None:
    run = site.begin()
    for after in ("x", str(10**6), "-1"):
        answer = served.ask("GET", f"{API}/runs/{run}/events", **SHOP, Last_Event_ID=after)
        assert (answer.status, answer.json["code"]) == (400, "usage")


def test_with_the_session_the_stream_ends(site: Site) -> None:
    run = site.begin()
    open_to = doors(*CALLERS)
    sessions = {VERA.session: VERA}
    uses: list[bool] = []

    def by_session(_: Installation, cookie: str, use: bool) -> Caller | None:
        uses.append(use)
        return sessions.get(cookie)

    changed = type(open_to)(by_session=by_session, by_token=open_to.by_token)
    with web(site.installation, routes=ROUTES, by=changed) as served:
        one = Following(served, run, {"Cookie": f"{COOKIE}={VERA.session}"})
        sessions.clear()
        assert [item.event for item in one.end()].count("run") >= 1 and site.ended(run) == "running"
    assert uses[0] and uses[1:] and not any(uses[1:]), "to be looked at again keeps no session from being idle"


def test_with_the_role_the_stream_ends(site: Site, served: Web) -> None:
    run = site.begin()
    one = Following(served, run, SHOP)
    site.write("DELETE FROM record WHERE address LIKE ?", "fleet/rolemapping/shop/%")
    one.end()
    assert site.ended(run) == "running" and Following(served, run, SHOP).answer.status == 404


def stream_of(view: View, loop: asyncio.AbstractEventLoop) -> Stream:
    watch = Watch(run="r", source="test", tenants=frozenset("ab"), view=view, after=0, ended=False, over=False)
    return Stream(watch=watch, asked=Asked(route=ROUTES[0], path={}), by="github:sam", loop=loop, began=loop.create_future(), view=view)


def test_a_slow_reader_is_let_go_without_a_gap() -> None:
    with closing(asyncio.new_event_loop()) as loop:
        one = stream_of(View(whole=True), loop)
        one.add(b"a" * QUEUE_MOST, last=False)
        one.add(b"b", last=False)
        one.add(b"c", last=False)
        assert one.over and one.take() == b"a" * QUEUE_MOST, "nothing after what was left out"


def test_what_else_is_asked_gets_its_turn_among_many_streams() -> None:
    with closing(asyncio.new_event_loop()) as loop:
        streams, handing, between = [stream_of(View(whole=True), loop) for _ in range(4 * AT_ONCE)], Handing(), list[int]()
        handing.give([(streams, b"a")])
        handing.give([(streams[::-1], b"b")])
        loop.call_soon(lambda: between.append(sum(bool(one.parts) for one in streams)))
        while not all(one.size == 2 for one in streams):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert between == [AT_ONCE] and {one.take() for one in streams} == {b"ab"}


def test_what_many_see_is_encoded_once(site: Site) -> None:
    with closing(asyncio.new_event_loop()) as loop:
        streams = [stream_of(View(whole=False, tenants=frozenset("ab"[n % 2])), loop) for n in range(20)]
        reader = Reader(site.installation, doors(), SimpleQueue(), Event())
        reader._streams["r"] = streams
        lines = (Line(1, 1, 0.0, "of a"), Line(2, 2, 0.0, "of b"), Line(3, 0, 0.0, "of all"))
        parts = list(reader._parts("r", News(lines=lines, addresses={1: ["m/k/a/x"], 2: ["m/k/b/x"]})))
    assert sorted((len(of), b"of a" in data, b"of b" in data, b"of all" in data) for of, data in parts) == [
        (10, False, True, False),
        (10, True, False, False),
    ]


def test_of_many_streams_of_somebody_it_is_asked_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Identity] = []

    def view(sight: Sight, source: str, tenants: Collection[str]) -> View:
        asked.append(sight.identity)
        return view_of(sight, source, tenants)

    monkeypatch.setattr(stream_reader, "view_of", view)
    with closing(asyncio.new_event_loop()) as loop:
        streams = [stream_of(View(whole=True, tenants=frozenset("ab")), loop) for _ in range(20)]
        for number, one in enumerate(streams):
            one.asked, one.checked_at = Asked(route=ROUTES[0], path={}, cookie=("github:root", "nobody")[number % 2]), float("-inf")
        reader = Reader(site.installation, doors(*CALLERS), SimpleQueue(), Event())
        reader._streams["r"] = streams
        reader._check(site.installation)
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert len(asked) == 1
    assert [one.over for one in streams] == [False, True] * 10


def test_a_line_that_is_committed_late_is_not_missed(database_url: str, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("one writes at a time")
    store, settled = Store(database_url), Settled()
    with store.write(alone=False) as early:
        write_log(early, "r", [(1, 0.0, "first")])
        early.row("SELECT 1")  # what waits to be sent is sent
        with store.write(alone=False) as late:
            write_log(late, "r", [(1, 0.0, "second")])
        with store.read() as connection:
            assert not settled.fresh(connection) and not lines_between(connection, 0, settled.number, 10)
    with store.read() as connection:
        assert settled.fresh(connection)
    with store.read() as connection:
        assert [line.text for _, line in lines_between(connection, 0, settled.number, 10)] == ["first", "second"]
    store.close()


def test_a_stream_outlasts_what_other_answers_may_take(site: Site) -> None:
    run, pages = site.begin(), Pages(site.installation, ROUTES, doors(*CALLERS), Threads(site.installation))
    terms = Terms(limits=Limits(answer_s=0.5))
    with app_of(Process(store=site.store), site=pages) as app, listening(app, "127.0.0.1", 0, terms) as port:
        one = Following(Web(port), run, ROOT)
        time.sleep(1.5)
        work(site, run)
        assert one.end()[-1].data["state"] == "done" and one.ids == log_of(site, run)
    pages.close()


def test_one_identity_has_so_many_streams_and_others_have_theirs(site: Site) -> None:
    run = site.begin()
    with web(site.installation, *CALLERS) as served:
        many = [Following(served, run, ROOT) for _ in range(STREAMS_OF_ONE)]
        assert {one.answer.status for one in many} == {200}
        refused = served.page(f"{API}/runs/{run}/events", "github:root")
        assert (refused.status, refused.json["code"]) == (503, "busy")
        assert Following(served, run, SHOP).answer.status == 200
        work(site, run)
        assert all(one.end() for one in many)
        assert served.page(f"{API}/runs/{run}/events", "github:root").status == 200
