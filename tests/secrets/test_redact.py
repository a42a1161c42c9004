"""Every form in which an engine may print a value is masked, and nothing else."""

import base64
import html
import json
import re
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.secrets.redact import redactor
from reconciler.types.values import SecretValue

HARD = "p\"a\\s's<w>o&r/d é+%1"
FORMS = {
    "plain": lambda text: text,
    "json": json.dumps,
    "json, not ASCII": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "repr": repr,
    "url": quote,
    "url, all": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "url, lower case": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
    "html": html.escape,
    "shell": shlex.quote,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("plain", [HARD, "simple-password", "two\nlong lines of it\n"])
def test_forms(form, plain):
    hidden = redactor([SecretValue(plain)])(f"before {FORMS[form](plain)} after")
    assert "***" in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")
    for encode in FORMS.values():
        assert encode(plain).strip("\"'") not in hidden


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "abcd"])
def test_inside_longer_base64(user):
    header = base64.b64encode(f"{user}:correct horse battery:tail".encode()).decode()
    hidden = redactor([SecretValue("correct horse battery")])(header)
    left, right = hidden.split("***")
    assert len(left) <= (len(user) + 1) * 4 / 3 + 2  # at most the character that it shares with the value's first byte
    assert len(right) <= len("=:tail") * 4 / 3 + 2


def test_long_lines_of_a_value_are_hidden_alone():
    key = "-----BEGIN KEY-----\nMIIBVgIBADANBgkq\nshort\n-----END KEY-----\n"
    redact = redactor([SecretValue(key)])
    assert redact("x MIIBVgIBADANBgkq y short") == "x *** y short"
    assert redact(key) == "***"


def test_the_longest_wins_and_others_stay():
    redact = redactor([SecretValue("abc"), SecretValue("abcdef"), SecretValue("")])
    assert redact("abcdef abc ab xyz") == "*** *** ab xyz"
    assert redactor([])("abc") == redactor([SecretValue("")])("abc") == "abc"


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=40).filter(lambda text: "*" not in text), st.text(max_size=20), st.text(max_size=20))
@example("0", "", "1")
def test_the_plaintext_never_survives(plain, before, after):
    hidden = redactor([SecretValue(plain)])(before + plain + after)
    assert plain not in hidden
