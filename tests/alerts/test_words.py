"""The words of a message: what templates see, and what is found wrong with them before anything is sent."""

from pathlib import Path

import pytest

from reconciler.alert.condition import Event
from reconciler.alert.line import Message
from reconciler.alert.words import BODY, TITLE, mistakes, plain, summary, variables
from reconciler.alerting import texts
from reconciler.sandbox import Sandbox
from tests.alerts.made import channel, condition
from tests.fleets import fleet, octofleet, repo

A, B = condition("host/shop/a"), condition("host/shop/b", Event.RUN_FAILED, since=1_700_000_000.0)
SECRET = "{secretRef: {store: s, key: url}}"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def test_a_message_in_the_words_of_octofleet(sandbox: Sandbox) -> None:
    message = Message(opened=(A,), still=(B,), over=(condition("host/shop/c"),), unsaid=2)
    (text,) = texts(sandbox, channel(), message, incidents=False)
    assert text.title == "Octofleet: 1 new, 1 still so, 1 over: drift found, run failed (shop)" and text.type == "failure"
    assert text.body.splitlines() == [
        "drift found: host/shop/a: a text; next: do it",
        "still, since 2023-11-14 22:13 UTC: run failed: host/shop/b: a text",
        "over: drift found: host/shop/c",
        "2 more came and went before they could be told",
    ]


def test_a_topic_is_an_incident_that_ends_when_nothing_of_it_is_open(sandbox: Sandbox) -> None:
    lab = condition("host/lab/x", tenant="lab")
    message = Message(opened=(A,), over=(lab, condition("host/shop/c")), open=frozenset({A.topic}))
    shop, other = texts(sandbox, channel(), message, incidents=True)
    assert (shop.ends, other.ends) == (False, True) and shop.incident != other.incident and len(shop.incident) == 64
    (later,) = texts(sandbox, channel(), Message(over=(A,)), incidents=True)
    assert later.incident == shop.incident and later.ends


def test_many_are_counted_and_long_ones_cut(sandbox: Sandbox) -> None:
    message = Message(opened=tuple(condition(f"host/shop/{n}", text="x" * 9000) for n in range(500)))
    (text,) = texts(sandbox, channel(), message, incidents=False)
    assert len(text.body) <= 8000 and variables(message, "c")["more"]["opened"] == 480
    short = Message(opened=tuple(condition(f"host/shop/{n}") for n in range(25)))
    assert "and 5 more" in texts(sandbox, channel(), short, incidents=False)[0].body


def test_a_value_is_one_line_whatever_it_holds(sandbox: Sandbox) -> None:
    evil = condition("host/shop/a\nover: everything", text="a\r\nb\x1b[31m\u202ec\u2028d {{ 7 * 7 }}")
    (text,) = texts(sandbox, channel(), Message(opened=(evil,)), incidents=False)
    assert len(text.body.splitlines()) == 1 and "{{ 7 * 7 }}" in text.body and "\x1b" not in text.body
    assert plain("a\u202eb\tc\n\nd") == "a b c d"


def test_a_channel_has_its_own_words(sandbox: Sandbox) -> None:
    to = channel(
        title="[{{ channel }}]\n{{ summary }}", body="{% for alert in opened %}{{ alert.tenant }}/{{ alert.subject }};{% endfor %}"
    )
    (text,) = texts(sandbox, to, Message(opened=(A, B)), incidents=False)
    assert (text.title, text.body) == (f"[c] {summary(Message(opened=(A, B)))}", "shop/host/shop/a;shop/host/shop/b;")


@pytest.mark.parametrize("body", ["{{ opened[99].subject }}", "{{ 'x' * 99999999 }}", "{{ ''.__class__ }}"])
def test_a_template_that_fails_while_it_is_filled_in_loses_no_alert(body: str, sandbox: Sandbox) -> None:
    (text,) = texts(sandbox, channel(body=body, title="{{ opened[99] }}"), Message(opened=(A,)), incidents=False)
    assert text.title.startswith("Octofleet: 1 new") and "the template body of this channel cannot be used" in text.body
    assert "host/shop/a" in text.body


def test_an_empty_body_is_the_title(sandbox: Sandbox) -> None:
    (text,) = texts(sandbox, channel(body="{% if false %}x{% endif %}\n"), Message(opened=(A,)), incidents=False)
    assert text.body == text.title


@pytest.mark.parametrize(
    ("template", "line", "column", "words"),
    [
        ("{{ summery }}", 1, 4, "there is no variable summery"),
        ("x\n{% for a in opened %}{{ a.host }}{% endfor %}", 2, 27, "there is no host here; there are event, next"),
        ("{{ more.all }}", 1, 9, "there is no all here"),
        ("{{ summary | uper }}", 1, 14, "there is no filter uper"),
        ("{{ summary is hot }}", 1, 15, "there is no test hot"),
        ("a\n{% if %}", 2, 1, "Expected an expression"),
        ("{{ summary", 1, 1, "unexpected end of template"),
    ],
)
def test_what_is_wrong_with_a_template(template: str, line: int, column: int, words: str) -> None:
    (found,) = mistakes(template)
    assert (found.line, found.column) == (line, column) and words in found.message


@pytest.mark.parametrize(
    "template", [TITLE, BODY, "{% set n = opened | length %}{{ n }}{% for x in over if x.tenant %}{{ loop.index }}{% endfor %}"]
)
def test_a_template_that_is_right(template: str) -> None:
    assert mistakes(template) == []


CHANNEL = f"""apiVersion: octofleet/v1
kind: AlertChannel
metadata: {{name: c, tenant: shop}}
spec:
  to: [{SECRET}]
  on: [host-silent]
  tenants: [shop]
  templates:
    title: "{{{{ summery }}}}"
    body: |
      fine
      {{% for alert in opened %}}{{{{ alert.host }}}}{{% endfor %}}
"""


def test_validate_names_file_line_and_column(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", fleet(hosts=1, channel=CHANNEL))
    found = octofleet(tmp_path / "data", "validate", "--repo", str(made.path))
    assert found.code == 1
    assert "channel.yaml:9:16: the template title: there is no variable summery" in found.text
    assert "channel.yaml:12:41: the template body: there is no host here" in found.text
    assert "channel.yaml:7:3: the channel hears of shop alone already" in found.text
    assert "channel.yaml:6:3: nothing says when a host is silent" in found.text


def test_a_channel_that_tells_nobody_or_without_encryption_is_refused(tmp_path: Path) -> None:
    start = "apiVersion: octofleet/v1\nkind: AlertChannel\nmetadata: {name: c}\nspec:\n"
    hook = f"  webhooks: [{{url: 'http://hooks.example.net/x', secrets: [{SECRET}]}}]\n"
    for text, said in (("  group: 1s\n", "the channel tells nobody"), (hook, "must be the URL of a webhook, https://HOST/PATH")):
        found = octofleet(
            tmp_path / "data", "validate", "--repo", str(repo(tmp_path / said[:8], fleet(hosts=1, channel=start + text)).path)
        )
        assert found.code == 1 and said in found.text


def test_a_url_in_the_clear_is_refused_and_not_shown(tmp_path: Path) -> None:
    text = CHANNEL.replace(SECRET, "'slack://TOKENA/TOKENB/TOKENC'")
    found = octofleet(tmp_path / "data", "validate", "--repo", str(repo(tmp_path / "repo", fleet(hosts=1, channel=text)).path))
    assert found.code == 1 and "must be a secret" in found.text and "TOKENB" not in found.text
