"""Install tokens in a hostile network: guessed, replayed, used from elsewhere, asked of another process; and where they must never show."""

import asyncio
import http.client
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.applying import cancel
from reconciler.arming import token_digest
from reconciler.boot.notes import Notes
from reconciler.store import installs
from reconciler.types.installation import Stage, State
from tests.boot.hostile import HOST, Stand, beside, standing, there
from tests.boot.site import Site, ask, bootable, script
from tests.store.databases import KINDS, database


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = tmp_path_factory.mktemp("hostile")
    with database(request.param, path) as url, standing(path, url) as made:
        yield made


def variants(url: str) -> dict[str, str]:
    """What somebody tries who has heard a token, or thinks of one."""
    token = url.split("/i/")[1].split("/", maxsplit=1)[0]
    assert re.fullmatch("[0-9a-f]{64}", token), "256 bits"
    return {
        "truncated": url.replace(token, token[:-1]),
        "longer": url.replace(token, f"{token}0"),
        "upper case": url.replace(token, token.upper()),
        "guessed": url.replace(token, "0" * 64),
        "empty": url.replace(token, ""),
        "not UTF-8": url.replace(token, "%ff" * 64),
        "a lone surrogate": url.replace(token, "%ed%a0%80" * 64),
        "NUL": url.replace(token, f"{token}%00"),
        "blank": url.replace(token, f"{token}%20"),
        "its digest": url.replace(token, token_digest(token)),
        "another tenant": url.replace("/shop/", "/bank/"),
        "another host": url.replace("/web-01/", "/web-02/"),
        "another file": url.rpartition("/")[0] + "/unattend.xml",
        "no such file": url.rpartition("/")[0] + "/../preseed.cfg/x",
        "climbing": url.rpartition("/")[0] + "/%2e%2e/%2e%2e/preseed.cfg",
        "another path": url.replace("/i/", "/media/"),
        "twice": url.replace("/i/", "//i/"),
    }


def test_no_variant_of_a_token_opens_anything(site: Stand) -> None:
    url = site.arm()
    for what, wrong in variants(url).items():
        found = ask(wrong)
        assert found.status in {400, 404}, (what, found)
        assert "d-i" not in found.text, what
    assert ask(url).status == 200


@pytest.mark.parametrize("over", ["installed", "failed", "expired", "cancelled"])
def test_a_token_ends_with_its_attempt_in_every_process_at_once(site: Stand, over: str) -> None:
    with beside(site) as other:
        url = site.arm()
        assert ask(there(site, url, other)).status == 200
        with site.wiring.store.write() as connection:
            of = site.newest
            match over:
                case "installed" | "failed":
                    installs.report(connection, of, Stage(over), connection.now())
                case _:
                    installs.end(connection, of.id, State(over), connection.now())
        for base in (site.url, other):
            assert ask(there(site, url, base)).status == 404, "no process waits until it happens to look"
            assert site.call(there(site, url, base), "booted").status == 410
            assert site.call(there(site, url, base), "installed").status == (200 if over == "installed" else 410)


def test_a_callback_in_another_process_is_bound_to_the_machine_too(site: Stand) -> None:
    """Even before that process knows of the installation: the database judges, not its memory."""
    with beside(site) as other:
        url = site.arm()
        assert ask(url).status == 200
        for base in (site.url, other):
            assert site.call(there(site, url, base), "installed", source="127.0.0.7").status == 404
        with site.wiring.store.write() as connection:
            installs.end(connection, site.newest.id, State.CANCELLED, connection.now())
        assert site.call(url, "installed", source="127.0.0.7").status == 404, "nor is anybody told how it ended"


def test_what_is_over_by_time_takes_no_word(site: Stand) -> None:
    url = site.arm()
    with site.wiring.store.write() as connection:
        connection.run(
            f"UPDATE installation SET expires_at = ?, seq = {installs.NEXT} WHERE id = ?", (connection.now() - 1, site.newest.id)
        )
    assert ask(url).status == 404
    assert site.call(url, "installed").status == 410
    assert site.newest.state is State.EXPIRED
    assert site.wiring.arming.ledger([HOST]).get(HOST) is None or site.newest.stage != "installed"


def test_a_get_changes_no_state_and_a_head_nothing_at_all(site: Stand) -> None:
    url = site.arm()
    before = site.newest
    for path in (url, f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01", f"{site.url}/boot/grub/grub.cfg-01-52:54:00:00:00:01"):
        assert ask(path, method="HEAD", source="127.0.0.9").status == 405
    assert site.newest == before
    texts = {ask(url, headers={"Range": "bytes=0-3", "If-None-Match": "*", "If-Modified-Since": "Thu, 01 Jan 2037 00:00:00 GMT"}).text}
    texts |= {ask(url).text for _ in range(3)}
    assert len(texts) == 1
    after = site.newest
    assert (after.state, after.stage, after.expires_at) == (before.state, before.stage, before.expires_at)
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        assert ask(url, method=method).status in {405, 400}


def test_pipelined_requests_are_answered_each(site: Stand) -> None:
    url = site.arm()
    at = urlsplit(url)
    with closing(http.client.HTTPConnection(at.hostname or "", at.port, timeout=30)) as connection:
        connection.connect()
        head = "HTTP/1.1\r\nHost: x\r\n"
        parts = [
            f"GET {at.path} {head}\r\n",
            f"GET /i/{'0' * 64}/shop/web-01/preseed.cfg {head}\r\n",
            f"GET {at.path} {head}Connection: close\r\n\r\n",
        ]
        connection.sock.sendall("".join(parts).encode())
        answer = b""
        while chunk := connection.sock.recv(65536):
            answer += chunk
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"404", b"200"]


def test_no_token_in_any_event(site: Stand) -> None:
    url = site.arm()
    token = url.split("/i/")[1].split("/")[0]
    for wrong in variants(url).values():
        ask(wrong)
        ask(wrong, source="127.0.0.7")
    site.call(url, "nonsense")
    site.call(url, "failed", log="x")
    assert site.told
    for name, fields in site.told:
        text = str(fields).lower()
        assert token not in text and token[:-1] not in text, (name, fields)


def test_whoever_is_outside_the_networks_is_told_nothing(tmp_path: Path) -> None:
    with standing(tmp_path, network="127.0.0.0/24") as site:
        url = site.arm()
        before = site.newest
        token = url.split("/i/")[1].split("/")[0]
        for path in ("/boot/ipxe?mac=52-54-00-00-00-01", "/media/x", "/nowhere", f"//i/{token}/x", urlsplit(url).path):
            found = ask(f"{site.url}{path}", source="127.0.1.1", headers={"X-Forwarded-For": "127.0.0.1"})
            assert (found.status, found.text) == (403, ""), path
        assert site.call(url, "installed", source="127.0.1.1").text == ""
        assert site.newest == before
        refused = [fields for name, fields in site.told if name == "boot-refused"]
        assert refused and not [fields for fields in refused if token in str(fields)]


def test_notes_fail_alone_and_the_thread_lives(site: Stand) -> None:
    def bad(connection: object) -> None:
        raise KeyError("nobody foresaw it")

    refreshed: list[int] = []
    notes = Notes(site.wiring.store, lambda: refreshed.append(1))
    notes.seen(("shop", "web-01", time.time(), "127.0.0.1", "bios", "local", "a test"))

    async def ask_them() -> None:
        asked = [notes.write(bad), notes.write(lambda connection: 1), notes.write(bad), notes.write(lambda connection: 2), notes.fresh()]
        notes.start()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(one) for one in found] == [KeyError, int, KeyError, int, type(None)]
        assert (found[1], found[3]) == (1, 2)
        assert await notes.write(lambda connection: 4) == 4

    try:
        asyncio.run(ask_them())
    finally:
        notes.close()
    with site.wiring.store.read() as connection:
        assert installs.seen_of(connection, "shop", "web-01") is not None, "what failed kept nothing else from being written"


def test_what_cannot_be_read_is_said_and_the_thread_lives(site: Stand) -> None:
    broken = [True]

    def refreshed() -> None:
        if broken.pop() if broken else False:
            raise RuntimeError("no picture")

    notes = Notes(site.wiring.store, refreshed)

    async def ask_twice() -> None:
        first = notes.fresh()
        notes.start()
        with pytest.raises(RuntimeError):
            await first
        assert await notes.fresh() is None

    try:
        asyncio.run(ask_twice())
    finally:
        notes.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("give_up", [False, True])
def test_a_cancelled_run_takes_its_tokens_with_it(kind: str, give_up: bool, tmp_path: Path) -> None:
    with database(kind, tmp_path) as url:
        site = Site(tmp_path, url)
        try:
            with site.serving():
                site.begun()
                site.repo.commit({"host-1.yaml": bootable(generation=1)})
                site.approved()
                found = site.armed()
                if give_up:
                    site.until(lambda: "installing" in script(site))
                    answers = site.answers(script(site))
                    assert ask(answers).status == 200
                    site.call(answers, "booted")
                cancel(site.wiring, found.run, "a test", give_up=give_up)
                assert site.installations()[0].state is State.CANCELLED
                if give_up:
                    assert ask(answers).status == 404
                    assert site.call(answers, "installed").status == 410
                site.until(lambda: "sanboot" in script(site))
                site.until(lambda: not site.open_runs())
                assert site.ledger() is None
        finally:
            site.close()
