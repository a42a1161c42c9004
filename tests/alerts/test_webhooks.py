"""Webhooks of an AlertChannel against a receiver that verifies them as Standard Webhooks says, and knows nothing of who sends."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.alert.channel import Channel, channel_of
from reconciler.alert.condition import Condition, Event
from reconciler.alert.document import MOST, data_of, document, id_of
from reconciler.alert.line import Line, Message, due, failed, follow, told, trying
from reconciler.alerting import post, try_out
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.settings import Alerts, Secrets, Settings, Store
from reconciler.standard_webhook import check_url, key_of, place_of, send, signed
from reconciler.types.values import Secret, SecretRef
from reconciler.wiring import Installation, open_installation
from tests.alerts.made import condition
from tests.alerts.test_alerting import Server, Told, drift, served
from tests.alerts.test_alerting import channel as alert_channel
from tests.alerts.test_alerting import told as told_others
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind", "told_others"]

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
TOLERANCE_S = 300


def verified(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """As the specification has it: the timestamp is of now, and one of the signatures of version 1 is right."""
    said = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    wanted = base64.b64encode(hmac.new(base64.b64decode(secret.removeprefix("whsec_")), said, hashlib.sha256).digest()).decode()
    found = [text.split(",", 1) for text in headers["webhook-signature"].split(" ")]
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < TOLERANCE_S
    return fresh and any(version == "v1" and hmac.compare_digest(signature, wanted) for version, signature in found)


@dataclass
class Receiver:
    """`answers` says in order how to answer: a status, or `hang`; then 204."""

    port: int = 0
    answers: list[int | str] = field(default_factory=list)
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=HIDDEN"


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.came.append((self.path, {name.lower(): text for name, text in self.headers.items()}, body))
            answer = made.answers.pop(0) if made.answers else 204
            if answer == "hang":
                made.released.wait(60)
            elif isinstance(answer, int):
                self.send_response(answer)
                self.send_header("Location", f"http://127.0.0.1:{made.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        made.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    for name, text in {"old": OLD, "new": NEW, "wrong": "whsec_HIDDEN"}.items():
        monkeypatch.setenv(f"HOOK_{name}", text)
    settings = Settings(secrets=Secrets(stores={"s": Store(type="env", prefix="HOOK_", tenants=["*"])}), alerts=Alerts(http_loopback=True))
    made = replace(open_installation(tmp_path), settings=settings)
    yield made
    made.close()


def channel(url: str, *keys: str) -> Channel:
    spec = {"webhooks": [{"url": url, "secrets": [Secret(ref=SecretRef(store="s", key=key), token="t") for key in keys]}]}
    return channel_of("fleet/alertchannel/shop/on-call", "f", spec)


def sent(installation: Installation, found: Channel, message: Message) -> None:
    (hook,) = found.webhooks
    post(installation, found, hook, f"{found.address}#w0", message)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the specification's reference libraries."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_is_verified_with_either_secret_and_no_other(installation: Installation) -> None:
    with receiver() as hook:
        sent(installation, channel(hook.url, "old", "new"), Message(opened=(condition(),)))
    ((path, headers, body),) = hook.came
    assert path == "/hook?token=HIDDEN" and headers["content-type"] == "application/json"
    assert verified(headers, body, OLD) and verified(headers, body, NEW)
    assert not verified(headers, body, f"whsec_{base64.b64encode(bytes(32)).decode()}") and not verified(headers, body + b" ", OLD)
    assert not verified(headers | {"webhook-id": "msg_other"}, body, OLD)
    found = json.loads(body)
    assert (found["type"], found["data"]["channel"]) == ("alerts.v1", "shop/on-call") and found["timestamp"].endswith("Z")
    assert found["data"]["opened"] == [
        {
            "event": "drift-found",
            "since": "1970-01-01T00:00:00Z",
            "source": "f",
            "tenant": "shop",
            "subject": "host/shop/web-01",
            "text": "a text",
            "next": "do it",
        }
    ]
    assert (found["data"]["still"], found["data"]["over"], found["data"]["unsaid"]) == ([], [], 0)


def test_what_is_sent_again_has_the_same_id_and_what_is_told_again_another() -> None:
    found = replace(channel("https://h/x", "old"), repeat_s=100.0, group_s=0.0)

    def named(line: Line, now: float) -> tuple[str, Message]:
        message = due(line, found, now)
        assert message is not None
        return id_of("l#w0", message, data_of(message, found.name)), message

    line = follow(Line(), [condition()], 0.0)
    first, message = named(line, 1.0)
    line = failed(trying(line, message), "away", 1.0)
    again, message = named(line, 10.0)
    assert first == again and id_of("l#w1", message, data_of(message, found.name)) != first
    line = told(line, message, found, 10.0)
    later, message = named(line, 120.0)
    line = told(line, message, found, 120.0)
    last, _ = named(line, 300.0)
    assert len({first, later, last}) == 3


@pytest.mark.parametrize(
    ("answer", "words"), [(500, "it answered 500"), (302, "it answered 302"), (410, "410"), ("close", "could not be reached")]
)
def test_whoever_does_not_take_it_is_told_without_a_secret(installation: Installation, answer: int | str, words: str) -> None:
    with receiver() as hook:
        hook.answers[:] = [answer]
        with pytest.raises(RetryLater, match=words) as error:
            sent(installation, channel(hook.url, "old"), Message(opened=(condition(),)))
        assert len(hook.came) == 1, "no redirect is followed"
        assert "HIDDEN" not in str(error.value) and "whsec" not in str(error.value) and f"http://127.0.0.1:{hook.port} " in str(error.value)


def test_a_receiver_that_hangs_is_given_up() -> None:
    with receiver() as hook:
        hook.answers[:] = ["hang"]
        with pytest.raises(RetryLater, match=r"within 0\.5 s"):
            send(hook.url, [key_of(OLD)], "msg_1", 0, b"{}", timeout_s=0.5)


@pytest.mark.parametrize(
    "url", ["http://hooks.example.net/x", "http://127.0.0.1.example.net/", "ftp://h/HIDDEN", "https://u:HIDDEN@h/", "https://[HIDDEN"]
)
def test_only_https_is_sent_to(url: str) -> None:
    with pytest.raises(Permanent) as error:
        check_url(url, http_loopback=True)
    assert "HIDDEN" not in f"{error.value} {place_of(url)}"
    check_url("https://hooks.example.net/x?y=z", http_loopback=False)


def test_the_loopback_without_encryption_is_for_the_settings_to_allow(installation: Installation) -> None:
    with receiver() as hook:
        wary = replace(installation, settings=Settings(secrets=installation.settings.secrets))
        with pytest.raises(Permanent, match="is not encrypted"):
            sent(wary, channel(hook.url, "old"), Message(opened=(condition(),)))
        assert not hook.came


@pytest.mark.parametrize(
    "secret", ["HIDDEN", "whsec_HIDDEN!", "whsec_", *(f"whsec_{base64.b64encode(bytes(n)).decode()}" for n in (23, 65))]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(Permanent) as error:
        key_of(secret)
    assert secret.removeprefix("whsec_") == "" or secret.removeprefix("whsec_") not in str(error.value)


def test_a_test_message_tells_where_it_went(installation: Installation) -> None:
    with receiver() as hook:
        found = channel(hook.url, "old", "new")
        assert try_out(installation, found, "w0", 5.0) == f"http://127.0.0.1:{hook.port}"
        ((_, headers, body),) = hook.came
        assert verified(headers, body, OLD) and json.loads(body)["data"]["opened"][0]["subject"] == "test"
        with pytest.raises(OctofleetError):
            try_out(installation, channel(hook.url, "wrong"), "w0", 5.0)


def test_a_document_is_bounded_and_says_what_it_leaves_out() -> None:
    many = tuple(
        Condition(event=Event.HOST_SILENT, source="f", tenant="t", subject=f"h{n}\n", text="x" * 900, next="", since=1.5)
        for n in range(MOST + 5)
    )
    data = data_of(Message(over=many), "c")
    assert len(data["over"]) == MOST and data["more"] == {"opened": 0, "still": 0, "over": 5}
    assert data["over"][0]["subject"] == "h0" and len(data["over"][0]["text"]) == 500 and len(document(data, 0.0)) < 100_000


def test_receivers_have_names_that_stay_when_others_come() -> None:
    found = replace(channel("https://h/x", "old"), to=(SecretRef(store="s", key="one"),))
    assert list(found.receivers) == ["0", "w0"]


def test_a_server_tells_a_webhook_and_tries_again(
    tmp_path: Path, database_url: str, told_others: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as hook:
        hook.answers[:] = [503]
        spec = f"  webhooks: [{{url: '{hook.url}', secrets: [{{secretRef: {{store: s, key: hook}}}}]}}]\n"
        monkeypatch.setenv("ALERT_hook", OLD)
        made = served(tmp_path, database_url, told_others, monkeypatch, c=alert_channel("c", spec))
        settings = made.site.installation.settings
        made.site.installation = replace(
            made.site.installation,
            settings=Settings(database_url=database_url, secrets=settings.secrets, alerts=Alerts(http_loopback=True)),
        )
        server = Server(made.site, told_others, "w2")
        made.site.write("DELETE FROM worker WHERE id = 'w1'")
        drift(server)
        server.rounds()
        server.site.write("UPDATE alert_line SET retry_at = 0")
        server.rounds()
    (_, first, one), (_, second, other) = hook.came
    assert first["webhook-id"] == second["webhook-id"] and verified(second, other, OLD)
    assert json.loads(one)["data"]["opened"][0]["subject"] == "host/shop/web-01" and len(told_others.sent) == 1
