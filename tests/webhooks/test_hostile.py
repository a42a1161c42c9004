"""Text that others choose cannot leave its place in a comment: a CommonMark parser finds no link, image, HTML, mention or reference of theirs."""

import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reconciler.report.markup import block, code, html, link, prose
from tests.webhooks.cases import CASES, NAMES, hostile
from webhooks.comment import comment
from webhooks.fit import units

OURS = re.compile(r"[\w \n.,:;()%~+±»>=→·☐☑🟢🟡🔴🛑🔑🔒'’/-]*")
"""The characters of our own sentences."""
MEANS = re.compile(r"@|#\d|\bGH-\d|://|\bwww\.|!\d|\b[0-9a-f]{7,40}\b|\S+#")
"""What some forge makes a mention, a reference or a link of, where it is not code."""
PIECES = (
    *NAMES, "```", "~~~", "`", "``", "|", "\\", "\\|", "\n", "\n\n", "\r\n", "# ", "> ", "- ", "1. ", "***", "===", "---", "<!--", "-->", "</code>",
    "</summary>", "<details>", "&#64;", "&lrm;", "[//]: # (x)", "[a]: http://x", "www.x.example", "a@b.example", "$x$", ":+1:", "[^1]", "\u202e",
    "\u2066", "\u200b", "\u3164", "\u05d0\u05d1", "\u0627", "\x00", "\x1b[31m", "\ufeff", "x" * 400, "deadbeef", "😀",
)  # fmt: skip
ANY = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8), st.sampled_from([" ", "a"])), max_size=6).map("".join)


class Tags(HTMLParser):
    """The tags of HTML, in order, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(" ".join([tag, *(name for name, _ in attrs)]))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")


def tokens(text: str) -> list[Token]:
    """All tokens, those in lines too."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [token for outer in parser.parse(text) for token in (outer, *(outer.children or ()))]


def check(text: str) -> None:
    """Everything that must hold of any comment."""
    found = tokens(text)
    kinds = {token.type for token in found}
    assert not kinds & {"image", "s_open", "em_open", "hr", "lheading_open"}
    links = [token.attrs["href"] for token in found if token.type == "link_open"]
    assert all(str(url).startswith("https://octofleet.example.net/") for url in links)
    for token in found:
        if token.type == "text":
            plain = token.content.replace("\u200e", "")
            assert OURS.fullmatch(plain), plain
            assert not MEANS.search(plain), plain
            assert plain.isascii() or not any(unicodedata.category(char) in ("Cf", "Lo", "Cc") for char in plain), plain
    tags = [tag for token in found if token.type in ("html_block", "html_inline") for tag in Tags(token.content).found]
    assert set(tags) <= {"details", "details open", "/details", "summary", "/summary", "code", "/code"}, set(tags)
    depth = 0
    for tag in tags:
        depth += {"details": 1, "details open": 1, "/details": -1}.get(tag, 0)
        assert depth >= 0
    assert depth == 0
    cells = [found[place + 1] for place, token in enumerate(found) if token.type == "td_open"]
    assert all(re.fullmatch(r"`.*`(&lrm;)?|[\d,]*|and [\d,]+ more", cell.content) for cell in cells), [cell.content for cell in cells]
    assert not any(
        unicodedata.category(char) in ("Cf", "Cs", "Co") or (unicodedata.category(char) == "Cc" and char != "\n") for char in text
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("folding", [True, False])
def test_every_golden_comment_holds_what_must_hold(name: str, folding: bool) -> None:
    check(comment(replace(CASES[name](), folding=folding)))


@settings(max_examples=300, deadline=None)
@given(ANY, st.booleans(), st.sampled_from([8_000, 32_000]))
@example("```\n</details>\n\n@team", True, 32_000)
@example("\u05d0\u05d1", False, 32_000)
def test_chosen_text_stays_in_its_place(text: str, folding: bool, limit: int) -> None:
    made = comment(replace(hostile(text), folding=folding), limit)
    assert units(made) <= limit
    check(made)
    assert folding or not any(token.type.startswith("html") for token in tokens(made))
    short = comment(replace(hostile(text), failure="", conflicts=(), untrusted=None, folding=folding), limit)
    assert units(short) <= limit
    check(short)


@settings(max_examples=1000, deadline=None)
@given(ANY)
def test_a_code_span_is_one_token(text: str) -> None:
    inline = [token for token in tokens(f"a {code(text)} b") if token.type not in ("inline", "paragraph_open", "paragraph_close")]
    assert [token.type for token in inline] == ["text", "code_inline", "text"]
    assert inline[2].content.replace("\u200e", "") == " b"


@settings(max_examples=1000, deadline=None)
@given(ANY)
def test_a_code_block_is_one_token(text: str) -> None:
    assert [token.type for token in tokens(block(text))] == ["fence"]


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_a_sentence_has_no_more_than_words_and_code(text: str) -> None:
    check(f"a {prose(text)}")
    assert {token.type for token in tokens(f"a {prose(text)}")} <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_html_is_code_and_nothing_else(text: str) -> None:
    assert Tags(html(text)).found == ["code", "/code"]
    assert not re.search(r"[@`|\\\[\]!*~$]", html(text))


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_a_link_goes_where_it_should_or_nowhere(text: str) -> None:
    made = [token for token in tokens(link("it", f"https://octofleet.example.net/{text}")) if token.type == "link_open"]
    assert all(str(token.attrs["href"]).startswith("https://octofleet.example.net/") for token in made)
    assert not [token for token in tokens(link("it", text)) if token.type == "link_open" and not text.strip().startswith("http")]
