"""Makes text fit: of parts with rows, what matters least is shortened first, from the last row on, and what is left out is counted. Pure."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


def units(text: str) -> int:
    """The length as forges count it at most: in UTF-16, where some characters are two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _more(number: int) -> str:
    return f"- and {number:,} more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A head, rows, and a foot. Each row has versions, the longest first, which may be the same. `left` rows are not given at all; `more` tells how many are
    left out."""

    head: str = ""
    rows: Sequence[tuple[str, ...]] = ()
    left: int = 0
    more: Callable[[int], str] = _more
    foot: str = ""

    def text(self, levels: Sequence[int]) -> str:
        """With each row in the version of its level; beyond the last one it is left out."""
        shown = [row[level] for row, level in zip(self.rows, levels, strict=True) if level < len(row)]
        left = self.left + len(self.rows) - len(shown)
        return "\n".join(filter(None, (self.head, *shown, self.more(left) if left else "", self.foot))).strip("\n")


GONE = 1_000
"""The level at which a row is left out."""


def fit(parts: Sequence[Part], cuts: Sequence[tuple[Part, int]], limit: int) -> str:
    """The parts that have any text, with empty lines between them. Each cut brings rows of a part to a level until all is within the limit, the last
    row first; after the last cut the text may still be too long."""
    levels = {id(part): [0] * len(part.rows) for part in parts}

    def text() -> str:
        return "\n\n".join(filter(None, (part.text(levels[id(part)]) for part in parts))) + "\n"

    for part, level in cuts:
        if units(text()) <= limit:
            break
        before = levels[id(part)]

        def fits(number: int, part: Part = part, level: int = level, before: Sequence[int] = before) -> bool:
            levels[id(part)] = list(_lowered(before, number, level))
            return units(text()) <= limit

        number = bisect_left(range(len(before)), True, key=fits)
        levels[id(part)] = list(_lowered(before, number, level))
    return text()


def _lowered(levels: Sequence[int], number: int, level: int) -> Iterator[int]:
    """The last so many at least at a level."""
    first = len(levels) - number
    return (max(was, level) if place >= first else was for place, was in enumerate(levels))
