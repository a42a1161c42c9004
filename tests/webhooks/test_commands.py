"""What comments say to Octofleet."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from webhooks.commands import MOST, VERBS, Misunderstood, Said, help_text, is_command, parse


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("octofleet plan", Said(verb="plan")),
        ("  Octofleet   PLAN  \nthank you", Said(verb="plan")),
        ("octofleet", Said(verb="help")),
        ("octofleet approve", Said(verb="approve")),
        ("octofleet approve 0123456789ab looks good", Said(verb="approve", names="0123456789ab", reason="looks good")),
        ("octofleet approve plan 0123456789ab", Said(verb="approve", names="0123456789ab")),
        ("octofleet approve abc123 seen", Said(verb="approve", names="abc123", reason="seen")),
        ("octofleet approve 4711 decade", Said(verb="approve", reason="4711 decade")),
        ("octofleet approve deadbee is no plan", Said(verb="approve", reason="deadbee is no plan")),
        ("octofleet reject too late in the week", Said(verb="reject", reason="too late in the week")),
        ("octofleet pause --for 90m the switch is replaced", Said(verb="pause", reason="the switch is replaced", for_s=5400.0)),
        ("octofleet pause tenant/shop --for=2h audit", Said(verb="pause", scope="tenant/shop", reason="audit", for_s=7200.0)),
        ("octofleet pause --for 2h tenant/shop audit", Said(verb="pause", scope="tenant/shop", reason="audit", for_s=7200.0)),
        ("octofleet pause host/shop/web-01 audit", Said(verb="pause", scope="host/shop/web-01", reason="audit")),
        ("octofleet resume host/shop/web-01", Said(verb="resume", scope="host/shop/web-01")),
        ("octofleet lock\tmigration", Said(verb="lock", reason="migration")),
        ("octofleet\r\napprove everything", Said(verb="help")),
        ("\r\nOctofleet unlock\r\n\r\nthank you", Said(verb="unlock")),
    ],
)
def test_what_is_said(body: str, said: Said) -> None:
    assert is_command(body) and parse(body) == said


@pytest.mark.parametrize(
    "body", ["octofleetplan", "please octofleet plan", "> octofleet plan", "", "`octofleet plan`", "octofleet-plan", "\0"]
)
def test_what_speaks_to_nobody_here(body: str) -> None:
    assert not is_command(body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("octofleet destroy everything", "no such command"),
        ("octofleet reject", "say why"),
        ("octofleet lock  ", "say why"),
        ("octofleet pause --for 2h", "say why"),
        ("octofleet pause host/web-01 --for 2h a disk", "a scope is fleet, tenant/NAME"),
        ("octofleet resume tenant/", "a scope is fleet, tenant/NAME"),
        ("octofleet pause --for forever please", "--for takes a time"),
        ("octofleet pause --for ²h please", "--for takes a time"),
    ],
)
def test_what_cannot_be_done_is_told_without_its_words(body: str, why: str) -> None:
    with pytest.raises(Misunderstood) as caught:
        parse(body)
    assert why in str(caught.value) and "everything" not in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=400))
def test_nothing_that_is_said_breaks_it(text: str) -> None:
    for body in (text, f"octofleet {text}", f"octofleet pause {text}", f"octofleet approve {text}"):
        try:
            said = parse(body)
        except Misunderstood:
            continue
        assert said.verb in VERBS and len(said.reason) <= MOST and "\n" not in said.reason
        assert is_command(body)


def test_a_long_comment_is_read_in_one_go() -> None:
    """In a process of its own, which can be ended: what tries every way to read so many spaces goes on for minutes."""
    code = "from webhooks.commands import is_command; assert is_command('octofleet plan' + '\\t \\r' * 1_000_000 + 'x')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT)


def test_help_names_every_command() -> None:
    assert all(f"octofleet {verb}" in help_text() for verb in VERBS)
