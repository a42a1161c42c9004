"""Pieces of Markdown (GitHub's flavour) that hold any text: it cannot leave them, link, ping anybody, or show otherwise than it is.

Text from the repository, the world or a forge stands in `code`, `cell`, `block` or `html`, never in the open.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from urllib.parse import quote, urlsplit

from reconciler.report.text import MOST_NAMES, printable

OPEN_LINES = 12
"""What is at most so long is unfolded already."""
MOST_CHARS = 300
MOST_DIFF_LINES = 40
IN_URLS = ":/?#@!$&'*+,;=%~-._"
WORD = re.compile(r"\(?(?:[A-Za-z]{1,30}(?:'[a-z]{1,2})?|\d{1,3}(?:,\d{3}){0,3}%?|\d{4,6}%?)\)?[,.;:]?|%,?")
HEX = re.compile(r"[0-9a-f]{7,}")
"""Forges make links of what looks like a commit."""
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./:,()")


@lru_cache(maxsize=4096)
def code(text: str, most: int = MOST_CHARS) -> str:
    """A code span: fenced by more backticks than it has in a row. What is written from right to left does not reorder what stands beside it."""
    clean = _line(text, most)
    fence = "`" * (_longest_run(clean) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") or not clean else ""
    return f"{fence}{pad}{clean}{pad}{fence}{'' if clean.isascii() or not _right_to_left(clean) else '&lrm;'}"


def cell(text: str, most: int = MOST_CHARS) -> str:
    """A code span in a cell of a table, where a bar needs a backslash even there."""
    return code(text, most).replace("|", "\\|")


def html(text: str, most: int = MOST_CHARS) -> str:
    """HTML that shows the text as code. All that could mean something, to HTML or to a forge that looks for names, is a character reference."""
    return f"<code>{''.join(char if char in PLAIN else f'&#{ord(char)};' for char in _line(text, most))}</code>"


def block(text: str, language: str = "diff", most_lines: int = MOST_DIFF_LINES) -> str:
    """A code block, cut where it gets long, which it says."""
    lines = text.splitlines()
    clean = [_line(line, MOST_CHARS) for line in lines[:most_lines]]
    if len(lines) > most_lines:
        clean.append(f"... {len(lines) - most_lines:,} more lines")
    fence = "`" * max(3, _longest_run("\n".join(clean)) + 1)
    return "\n".join([f"{fence}{language}", *clean, fence])


def prose(text: str, most: int = MOST_CHARS) -> str:
    """A sentence of ours in which names of others may stand: plain words stay as they are, all else is in code spans."""
    groups = groupby(_line(text, most).split(" "), key=lambda word: bool(WORD.fullmatch(word)) and not HEX.fullmatch(word))
    return " ".join(" ".join(words) if plain else _quoted(" ".join(words)) for plain, words in groups)


def _quoted(text: str) -> str:
    """A code span; a comma or the like at its end is ours."""
    bare = text.rstrip(",;:")
    return f"{code(bare)}{text[len(bare) :]}" if bare else code(text)


def names(found: Sequence[str], most: int = MOST_NAMES) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(found) - most:,} more" if len(found) > most else ""
    return ", ".join(map(code, found[:most])) + more


def details(summary: str, lines: Iterable[str], *, folding: bool = True) -> Iterator[str]:
    """Lines that can be folded, unfolded if they are few. `summary` is HTML; without `folding`, which some forges do not have, it is Markdown, as a heading."""
    body = "\n".join(lines).strip("\n").splitlines()
    if not folding:
        yield from (f"**{summary}**", "", *body, "")
        return
    yield from (
        f"<details{' open' if sum(map(bool, body)) <= OPEN_LINES else ''}><summary>{summary}</summary>",
        "",
        *body,
        "",
        "</details>",
        "",
    )


def link(text: str, url: str) -> str:
    """A link with a text of ours; the text alone if the URL is none of the web."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return text
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return text
    return f"[{text}]({quote(url, safe=IN_URLS)})"


def _line(text: str, most: int) -> str:
    line = text if text.isascii() and text.isprintable() else printable(text.replace("\n", " ").replace("\t", " "))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _longest_run(text: str) -> int:
    longest = run = 0
    if "`" not in text:
        return 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest


def _right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text)
