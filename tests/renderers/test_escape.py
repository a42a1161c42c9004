"""Each escape function against a real reader of its syntax."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderers import escape, yaml
from renderers.contract import RenderError, Text
from tests.renderers.readers import read_yaml

ODD = [
    "no",
    "No",
    "y",
    "on",
    "null",
    "~",
    "",
    "0777",
    "1e3",
    "0x1f",
    "1:20",
    "2024-01-01",
    ".inf",
    "a: b",
    "a #b",
    "- a",
    "a:",
    "multi\nline\n",
]
ODD += [
    "\ttab",
    " lead",
    "trail ",
    "'",
    '"',
    "\\",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a",
    "{a}",
    "[a]",
    "a,b",
    "?",
    "=",
    "<<",
    "\x7f",
    "\x85",
    "\u2028",
]
ODD += ["\ufeff", "\ufffe", "\U0001f600", "\xa0", "é", "---", "...", "a\rb", "\x00"[:0], "NaN", "TRUE", "x" * 400, "word " * 60 + "end"]
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.mark.parametrize("text", ODD)
def test_yaml_strings_come_back(text: str) -> None:
    tree = {"key": text, "list": [text, {"nested": text}], "deep": {"map": [[text, 1], []]}}
    assert read_yaml(yaml.document(tree)) == tree


@given(
    st.recursive(
        st.one_of(st.text(), st.integers(-(2**60), 2**60), st.booleans()),
        lambda kids: st.lists(kids, max_size=3) | st.dictionaries(st.text(max_size=20), kids, max_size=3),
        max_leaves=8,
    )
)
@SETTINGS
def test_any_tree_comes_back_from_yaml(tree: object) -> None:
    try:
        text = yaml.document({"root": tree})
    except RenderError as error:
        assert "NUL" in error.message
        return
    assert read_yaml(text) == {"root": tree}


@pytest.mark.parametrize("value", ["a\0b", "\ud800", None, 1.5, ("a",)])
def test_yaml_refuses_what_it_cannot_carry(value: object) -> None:
    with pytest.raises(RenderError):
        yaml.document({"key": value})


def test_plain_words_stay_readable() -> None:
    assert (
        yaml.document({"path": "/boot/efi", "name": "Ada Lovelace", "url": "http://h:80/x"})
        == b"path: /boot/efi\nname: Ada Lovelace\nurl: http://h:80/x\n"
    )


def test_a_real_shell_reads_words_back() -> None:
    words = ["it's", "$HOME", "`id`", "a\\b", "*", "!x", "-n", "~", "#a", "a;b", "é", "${x}", '"', ""]
    done = subprocess.run(["sh", "-c", "printf '%s\\n' " + " ".join(map(escape.shell, words))], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == words


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("S4*", "S4X", True),
        ("a?c", "abc", True),
        ("$(id)*", "$(id)x", True),
        ("a b", "a b", True),
        ("a'*", "a'b", True),
        ("a|b", "b", False),
    ],
)
def test_a_real_shell_matches_patterns(pattern: str, value: str, fits: bool) -> None:
    script = f"case {escape.shell(value)} in {escape.shell_pattern(pattern)}) exit 0 ;; *) exit 1 ;; esac"
    assert (subprocess.run(["sh", "-c", script], check=False).returncode == 0) == fits


@given(st.text(max_size=30))
@SETTINGS
def test_quoted_words_are_one_word(text: str) -> None:
    for quote in (escape.shell, escape.kickstart, escape.grub):
        try:
            assert shlex.split(quote(text), comments=True) == [text]
            assert len(quote(text).splitlines()) == 1
        except RenderError:
            assert any(not char.isprintable() for char in text)


@pytest.mark.parametrize(
    "function",
    [
        *(escape.shell, escape.kickstart, escape.preseed, escape.ipxe, escape.grub, escape.kernel_arg, escape.sudoers),
        *(escape.xml, escape.markup, escape.batch, escape.powershell, escape.esxi, escape.boot_cfg),
    ],
)
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\u2028b", "\ud800"])
def test_what_no_line_can_carry_is_refused_by_field(function: object, value: str) -> None:
    with pytest.raises(RenderError) as caught:
        function(Text(value, "/users/0/gecos"))  # type: ignore[operator]
    assert caught.value.pointer == "/users/0/gecos"
