"""What one client can cost: each bound with a raw socket that goes over it, and somebody else who is served meanwhile."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from socket import MSG_PEEK

import pytest

from tests.server.raw import LONG, PATIENCE_S, Server, closed, get, read, server


def test_a_client_within_all_bounds_is_served_again_and_again() -> None:
    with server(head_s=5.0) as found, found.connected() as made:
        for _ in range(3):
            made.sendall(get())
            assert read(made).json == {"client": "127.0.0.1", "https": False}


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (get("/" + "a" * 9000), 414, "long-address"),
        (get("/", f"A: {'a' * 9000}"), 431, "large-headers"),
        (get("/", *(f"A{n}: b" for n in range(100))), 431, "large-headers"),
        (get("/", *(f"A{n}: {'b' * 4000}" for n in range(20))), 431, "large-headers"),
        (b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000, 413, "too-large"),
        (
            b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n",
            413,
            "too-large",
        ),
        (b"\x16\x03\x01\r\n\r\n", 400, "request"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "request"),
    ],
)
def test_what_is_too_large_or_broken_is_refused(sent: bytes, status: int, code: str) -> None:
    with server() as found:
        answer = found.ask(sent)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert answer.headers["Content-Type"] == "application/problem+json" and answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Server"] == "octofleet"
        assert b"aaaa" not in answer.body, "nothing of what came goes back"


def test_a_compressed_body_is_not_blown_up() -> None:
    sent = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + b"x" * 20
    with server() as found:
        assert found.ask(sent).json == {"bytes": 20}


def test_headers_that_drip_are_given_up() -> None:
    with server(head_s=0.5) as found, found.connected(b"GET / HTTP/1.1\r\n") as made:
        made.settimeout(0.05)
        dripped, end = 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                made.sendall(b"A: b\r\n")
                dripped += 1
                made.recv(1, MSG_PEEK)
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        made.settimeout(PATIENCE_S)
        answer = read(made)
        assert (answer.status, answer.json["code"]) == (408, "slow-request") and dripped > 1
        assert found.ask(get()).status == 200


def test_who_says_nothing_is_closed_without_a_word() -> None:
    with server(head_s=0.3) as found, found.connected() as made:
        assert made.recv(100) == b""


def test_between_requests_it_may_be_silent_for_a_while_and_no_longer() -> None:
    with server(head_s=0.2, idle_s=0.5) as found, found.connected(get()) as made:
        assert read(made).status == 200
        assert made.recv(100) == b""


def test_a_second_request_that_drips_is_given_up_too() -> None:
    with server(head_s=0.3, idle_s=60.0) as found, found.connected(get()) as made:
        assert read(made).status == 200
        made.sendall(b"GET / HT")
        assert read(made).status == 408 and closed(made)


def test_a_body_that_does_not_come_is_given_up() -> None:
    with server(body_s=0.3) as found, found.connected(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nxx") as made:
        answer = read(made)
        assert (answer.status, answer.json["code"]) == (408, "slow-request") and closed(made)


def test_an_answer_that_nobody_gives_is_cut() -> None:
    with server(answer_s=0.5) as found, found.connected(get("/hang")) as made:
        assert made.recv(100) == b""
        assert found.ask(get()).status == 200


def test_a_reader_that_takes_nothing_is_cut() -> None:
    with server(stalled_s=0.5) as found, found.connected(get("/long")) as made:
        assert made.recv(10) == b"HTTP/1.1 2"
        time.sleep(1.0)  # the time to read in, and more; what is read then is what was in buffers
        taken = 0
        try:
            while part := made.recv(1 << 20):
                taken += len(part)
        except ConnectionResetError:
            pass
        assert taken < LONG


def test_a_small_answer_that_nobody_takes_does_not_keep_its_connection() -> None:
    """It is in the buffers, so nothing waits to be written: what counts is that the connection ends."""
    with server(idle_s=0.3, connections=1) as found, found.connected(get()):
        _served(found)


def test_a_stream_stays_open_beyond_all_times_until_its_reader_stops_reading() -> None:
    with server(answer_s=0.2, body_s=0.2, head_s=0.2, idle_s=0.2, stalled_s=0.5) as found, found.connected(get("/events")) as made:
        while b"first" not in made.recv(1 << 16):
            pass
        with pytest.raises(TimeoutError):
            made.settimeout(1.0)
            made.recv(1)
        assert not found.ended
        found.stay.set()
        _until(lambda: found.ended == ["events"])


def test_connections_of_one_client_and_in_all_are_bounded() -> None:
    with server(of_client=3, connections=100) as found, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(found.connected(get("/hang")))
        _until(lambda: found.ask(get()).status == 503)
        answer = found.ask(get())
        assert (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "busy", "5")
        found.stay.set()
    with server(connections=2) as found:
        with found.connected(get("/hang")), found.connected(get("/hang")):
            _until(lambda: found.ask(get()).status == 503)
            found.stay.set()
        _served(found)


def test_behind_a_trusted_proxy_each_client_has_its_own_room() -> None:
    with server(of_client=2, trusted=("127.0.0.1",)) as found, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(found.connected(get("/hang", "X-Forwarded-For: 192.0.2.1")))
        _until(lambda: found.ask(get("/", "X-Forwarded-For: 192.0.2.1")).status == 503)
        assert found.ask(get("/", "X-Forwarded-For: 192.0.2.2")).json["client"] == "192.0.2.2"
        found.stay.set()
        _until(lambda: found.ask(get("/", "X-Forwarded-For: 192.0.2.1")).status == 200)


def test_nothing_of_an_unforeseen_error_is_said_and_pages_are_for_people() -> None:
    with server() as found:
        answer = found.ask(get("/broken"))
        assert (answer.status, answer.json["code"]) == (500, "internal") and b"hunter2" not in answer.body
        page = found.ask(get("/broken", "Accept: text/html"))
        assert page.status == 500 and page.headers["Content-Type"].startswith("text/html") and b"hunter2" not in page.body


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [(get("/nothing"), 404, "no-page"), (get("/body"), 405, "method"), (get("/", "Expect: nothing"), 417, "expectation")],
)
def test_what_aiohttp_refuses_is_refused_as_all_else(sent: bytes, status: int, code: str) -> None:
    with server() as found:
        answer = found.ask(sent)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"] and answer.headers["Server"] == "octofleet"
        page = found.ask(sent.replace(b"Host: x", b"Host: x\r\nAccept: text/html,*/*"))
        assert page.status == status and page.headers["Content-Type"] == "text/html; charset=utf-8" and b"<h1>" in page.body
        if status == 405:
            assert answer.headers["Allow"] == "POST"
        if status == 404:
            assert "openapi.json" in answer.json["hint"] and b"openapi.json" not in page.body and b"from the overview" in page.body


def _served(found: Server) -> None:
    _until(lambda: found.ask(get()).status == 200)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            if true():
                return
        except (ConnectionError, IndexError):
            pass
        time.sleep(0.02)
    raise AssertionError("it did not come")
