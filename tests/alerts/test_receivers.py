"""What arrives at each service, in its own format, and what is told of one that does not take it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.sending import Text, check, check_url, place_of, send
from tests.alerts.receivers import PAGERDUTY, SLACK, TEAMS, Web, mail, web

URLS = {
    SLACK: "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7?image=no",
    TEAMS: f"workflows://{TEAMS}/643e69f83c8944438d68119179a10a64/SIGNATURE-x",
    PAGERDUTY: "pagerduty://INTEGRATIONKEY@APIKEY/octofleet",
}
EVIL = "<!channel> @here *bold* _it_ `code` [link](http://evil.example.net) <at>bob</at> <b>b</b> <https://evil.example.net|x> &amp; # head"
TEXT = Text(title=f"title {EVIL}", body=f"first {EVIL}\n- second\n", type="failure")


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with web(tmp_path) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def test_slack_gets_plain_text_in_which_nothing_is_a_mention_or_a_link(services: Web) -> None:
    send(URLS[SLACK], [TEXT])
    (request,) = services.requests
    assert (request.host, request.path) == (SLACK, "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7")
    (attachment,) = request.body["attachments"]
    assert attachment["color"] == "#A32037" and request.body["mrkdwn"] is False and "link_names" not in request.body
    for said, wanted in ((attachment["title"], TEXT.title), (attachment["text"], TEXT.body)):
        assert "<" not in said and ">" not in said, "every control sequence of Slack begins with <"
        assert said.strip() == wanted.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").strip()


def test_teams_gets_an_adaptive_card_in_which_nothing_is_markdown_or_a_mention(services: Web) -> None:
    send(URLS[TEAMS], [TEXT])
    (request,) = services.requests
    assert request.host == TEAMS and request.path.startswith("/workflows/643e69f83c8944438d68119179a10a64/triggers/manual/paths/invoke?")
    assert "sig=SIGNATURE-x" in request.path and request.body["type"] == "message"
    (attachment,) = request.body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    blocks = [block for block in attachment["content"]["body"] if block["type"] == "TextBlock"]
    text = "\n".join(block["text"] for block in blocks)
    for special in ("*bold*", "_it_", "`code`", "[link]", "](", "\n# ", "\n- "):
        assert special not in text, special
    assert "entities" not in attachment["content"].get("msteams", {}), "nobody is mentioned"
    assert not re.search(r"<at>[^<]*</at>", text)
    assert "\\*bold\\*" in text and "second" in text and text.index("title") < text.index("first")


def test_pagerduty_gets_a_trigger_and_a_resolve_with_the_same_key(services: Web) -> None:
    send(URLS[PAGERDUTY], [Text(title="drift found", body="host/shop/web-01", type="warning", incident="k1")])
    send(URLS[PAGERDUTY], [Text(title="over", body="over", type="success", incident="k1", ends=True)])
    opened, ended = services.requests
    assert {request.path for request in services.requests} == {"/v2/enqueue"} and opened.host == PAGERDUTY
    assert opened.body["routing_key"] == "INTEGRATIONKEY" and opened.body["event_action"] == "trigger" and opened.body["dedup_key"] == "k1"
    assert opened.body["payload"]["severity"] == "warning" and opened.body["payload"]["source"] == "octofleet"
    assert re.fullmatch(r"drift found\s+host/shop/web-01", opened.body["payload"]["summary"])
    assert ended.body == {"routing_key": "INTEGRATIONKEY", "event_action": "resolve", "dedup_key": "k1"}


def test_a_long_text_is_cut_to_what_pagerduty_takes(services: Web) -> None:
    send(URLS[PAGERDUTY], [Text(title="t", body="x" * 3000, type="failure", incident="k")])
    assert {request.body["dedup_key"] for request in services.requests} == {"k"}
    assert all(len(request.body["payload"]["summary"]) <= 1024 for request in services.requests)


def test_a_webhook_gets_json_with_the_text_as_it_is() -> None:
    with web() as hook:
        send(f"json://ops:SECRET@127.0.0.1:{hook.port}/hook/TOKEN?+X-Key=KEY", [TEXT])
    (request,) = hook.requests
    assert request.path == "/hook/TOKEN" and request.headers["x-key"] == "KEY" and request.headers["authorization"].startswith("Basic ")
    assert request.body["title"] == TEXT.title and request.body["message"].split() == TEXT.body.split()
    assert request.body["type"] == "failure" and request.body["version"] == "1.0"


def test_mail_has_its_parts_and_html_in_which_nothing_is_markup() -> None:
    with mail() as server:
        send(f"mailto://127.0.0.1:{server.port}/?from=octofleet@example.net&to=ops@example.net", [TEXT])
        send(f"mailto://127.0.0.1:{server.port}/?from=octofleet@example.net&to=ops@example.net&format=html", [TEXT])
    (sender, receivers, plain), (_, _, message) = server.messages
    assert sender == "octofleet@example.net" and receivers == ["ops@example.net"]
    assert message["Subject"].split() == TEXT.title.split() and "\n" not in message["Subject"]
    assert plain.get_content_type() == "text/plain" and plain.get_content().split() == TEXT.body.split()
    html = message.get_body(("html",))
    assert html is not None
    content = html.get_content()
    assert "<b>b</b>" not in content and "<at>" not in content and "evil.example.net" in content and "href" not in content
    assert "&lt;b&gt;b&lt;/b&gt;" in content


@pytest.mark.parametrize(("answer", "words"), [(429, "429"), (500, "500"), (302, "302"), ("close", "could not be reached")])
def test_whoever_does_not_take_it_is_told_without_the_secret(answer: int | str, words: str, services: Web) -> None:
    for place, url in URLS.items():
        services.answers[:] = [answer]
        with pytest.raises(RetryLater) as error:
            send(url, [TEXT, TEXT])
        assert words in error.value.message, place
        assert not re.search("T1JJ3T3L2|TIia|643e69f8|SIGNATURE|KEY", error.value.message)
    assert len(services.requests) == 3, "what comes after one that failed is not sent"


def test_a_receiver_that_hangs_is_given_up() -> None:
    with web() as hook:
        hook.answers[:] = ["hang"]
        with pytest.raises(RetryLater, match=rf"^json://127.0.0.1:{hook.port} did not take a message within 3 s$"):
            send(f"json://user:SECRET@127.0.0.1:{hook.port}/TOKEN?rto=300", [TEXT], timeout_s=3)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("slack://TOKEN/B/C", "slack://..."),
        ("pagerduty://KEY@KEY2", "pagerduty://..."),
        ("jsons://user:PASS@hook.example.net:8443/TOKEN?x=SECRET", "jsons://hook.example.net:8443"),
        ("mailtos://user:PASS@mail.example.net?to=a@example.net", "mailtos://mail.example.net"),
        ("json://[SECRET", "json://..."),
        ("SECRET", "a URL of an unknown scheme"),
        ("syslog://SECRET", "a URL of an unknown scheme"),
    ],
)
def test_a_url_is_shown_as_scheme_and_host(url: str, shown: str) -> None:
    assert place_of(url) == shown


@pytest.mark.parametrize(
    "url", ["dbus://x", "syslog://", "SECRET", "", "slack://a/b/c?template=/etc/passwd", "json://h/?:Template=x", "pagerduty://a@b?dedup=x"]
)
def test_what_is_not_sent_to_is_refused_before_anything_is_started(url: str) -> None:
    with pytest.raises(Permanent) as error:
        check_url(url)
    assert "SECRET" not in error.value.message and "passwd" not in error.value.message


@pytest.mark.parametrize("url", ["slack://only", "pagerduty://KEYONLY", "mailto://nobody", "workflows://host/only"])
def test_apprise_says_what_it_does_not_understand(url: str) -> None:
    with pytest.raises(OctofleetError, match="apprise does not understand the URL"):
        check(url)
    for known in URLS.values():
        check(known)


def test_the_sender_says_one_thing_and_nothing_of_the_url(capfd: pytest.CaptureFixture[str], services: Web) -> None:
    services.answers[:] = [500]
    with pytest.raises(RetryLater):
        send(URLS[SLACK], [TEXT])
    out, err = capfd.readouterr()
    assert out + err == "" and json.dumps(services.requests[0].body)
