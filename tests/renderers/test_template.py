"""A user's template: rendered with the values, escaped by filters, refused with its name and line."""

from __future__ import annotations

from copy import deepcopy

import pytest

from renderers.contract import RenderError
from renderers.template import render_template
from tests.renderers.cases import CASES

VALUES = CASES["debian-bios-lvm-static"]


def test_values_are_variables_and_the_last_newline_stays() -> None:
    assert (
        render_template("#!ipxe\necho {{ name | ipxe }} {{ interfaces[0].address }}\n", "t", VALUES) == b"#!ipxe\necho db-01 10.20.0.11\n"
    )
    assert render_template("{{ x }}", "t", {"x": "<&>"}) == b"<&>"


@pytest.mark.parametrize(
    ("filter", "value", "expected"),
    [
        ("shell", "it's $HOME", b"'it'\"'\"'s $HOME'"),
        ("kickstart", "a b", b"'a b'"),
        ("preseed", "a b", b"a b"),
        ("ipxe", "a b", b"a b"),
        ("grub", "it's", b"'it'\\''s'"),
        ("yaml", "no", b'"no"'),
        ("yaml", 8080, b"8080"),
        ("yaml", True, b"true"),
        ("kernel_arg", "quiet", b"quiet"),
        ("shell", 7, b"7"),
        ("xml", "a & <b> ']]>\"", b"a &amp; &lt;b&gt; &#x27;]]&gt;&quot;"),
        ("batch", "100% & x", b'"100%% & x"'),
        ("powershell", "it's", b"'it''s'"),
        ("esxi", "US Default", b'"US Default"'),
        ("boot_cfg", "b.b00", b"b.b00"),
    ],
)
def test_each_filter_escapes(filter: str, value: object, expected: bytes) -> None:
    assert render_template("{{ x | " + filter + " }}", "t", {"x": value}) == expected


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{{ gone }}", 2, "'gone' is undefined"),
        ("a\nb\n{{ vars.gone }}", 3, "gone"),
        ("a\n{% if %}", 2, "Expected"),
        ("{{ name | nofilter }}", 1, "nofilter"),
        ("\n{{ ''.__class__.__mro__ }}", 2, "__class__"),
        ("{{ packages.append('x') }}", 1, "append"),
        ("{% for i in range(10**7) %}{% endfor %}", 1, "too big"),
        ("{{ 'a' * 10**9 }}", 1, "repetition"),
        ("{{ [0] * 10**9 }}", 1, "repetition"),
        ("{{ 9 ** 9999999 }}", 1, "power"),
        ("{{ '%999999999d' % 1 }}", 1, "%"),
        ("{{ 1 / 0 }}", 1, "division"),
        ("{% include 'other' %}", 1, "loader"),
        ("\n\n{{ 'a\\nb' | ipxe }}", 3, "printable ASCII"),
        ("{{ users | shell }}", 1, "list"),
        ("{{ users | yaml }}", 1, "list"),
        ("{{ name | int + 'a' }}", 1, "unsupported"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "recursion"),
    ],
)
def test_a_failure_says_template_and_line(source: str, line: int, words: str) -> None:
    with pytest.raises(RenderError) as caught:
        render_template(source, "boot/site.ipxe.j2", VALUES)
    assert caught.value.message.startswith(f"template boot/site.ipxe.j2, line {line}: ")
    assert words in caught.value.message


def test_values_are_not_changed() -> None:
    before = deepcopy(VALUES)
    with pytest.raises(RenderError):
        render_template("{% set _ = vars.update({'a': 1}) %}", "t", VALUES)
    assert before == VALUES
