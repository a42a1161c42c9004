"""What one task would change, as fields: from a module's result to before, after and a unified diff.

In: the result of a changed task (or of one item of its loop) and a function that cleans texts. Out: pieces, and from all pieces of a host
its fields and their digest. Results come as many shapes (Ansible has no schema for `diff`): a mapping or a list of them; texts, mappings,
or one text that is ready; or a note that a side is binary or large. Must not: let a text through uncleaned, keep a time or a temporary
path, or depend on order.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Any

from reconciler.plan.fields import same
from reconciler.secrets.redact import MASK
from reconciler.types.canonical import NOTHING, digest, digest_bytes
from reconciler.types.observation import ProposedField
from reconciler.types.pointer import escape

HIDDEN = "(hidden by no_log)"
FORMER = "(hidden: it may hold a former secret)"
TOO_LARGE = "(too large to be told)"
LIMIT = 20_000
"""The most characters of one value or one diff."""
MOST_LINES = 5_000
"""Of texts that are compared line by line: with its square time grows."""

Clean = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing that changes: `what` of `subject` (a file), in a loop of `item`."""

    what: str
    before: object
    after: object
    diff: str = ""
    subject: str = ""
    item: str = ""


def pieces(result: Mapping[str, Any], clean: Clean, item: str = "") -> tuple[Piece, ...]:
    """Of a result that says `changed`; at least one. A censored result and one that was dropped for its size are told as such."""
    if "censored" in result or not result:
        word = HIDDEN if result else TOO_LARGE
        return (Piece(what="change", before=word, after=word, item=item),)
    found = [piece for diff in _diffs(result) for piece in _of_diff(diff, _subject(diff, result, clean), clean)]
    if not found:
        found = [Piece(what="changed", before=False, after=True, diff=bounded(clean(_text(result.get("msg")))))]
    one = len({piece.subject for piece in found}) == 1
    return tuple(replace(piece, item=item, subject="" if one else piece.subject) for piece in found)


def _diffs(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    diffs = result.get("diff")
    several = diffs if isinstance(diffs, list) else [diffs]
    return [diff for diff in several if isinstance(diff, Mapping)]


def _subject(diff: Mapping[str, Any], result: Mapping[str, Any], clean: Clean) -> str:
    arguments = _module_arguments(result)
    header = diff.get("before_header") or arguments.get("dest") or diff.get("after_header") or arguments.get("path")
    return clean(_text(header)).removesuffix(" (content)").removesuffix(" (file attributes)")


def _module_arguments(result: Mapping[str, Any]) -> Mapping[str, Any]:
    invocation = result.get("invocation")
    arguments = invocation.get("module_args") if isinstance(invocation, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}


def _of_diff(diff: Mapping[str, Any], subject: str, clean: Clean) -> Iterator[Piece]:
    before, after = diff.get("before"), diff.get("after")
    if isinstance(before, Mapping) or isinstance(after, Mapping):
        old, new = (side if isinstance(side, Mapping) else {} for side in (before, after))
        for key in sorted({*old, *new}, key=str):
            first, second = cleaned(old.get(key), clean), cleaned(new.get(key), clean)
            if not same(old.get(key), new.get(key)):
                yield Piece(what=clean(str(key)), before=FORMER if MASK in str(second) else first, after=second, subject=subject)
        return
    if "prepared" in diff:
        text = bounded(clean(_text(diff["prepared"])))
        text = "\n".join(_former_line(line) for line in text.splitlines()) if MASK in text else text
        yield Piece(what="diff", before=None, after=text, diff=text, subject=subject)
    noted = [_note(diff, side) for side in ("dst", "src")]
    if any(noted):
        yield Piece(what="content", before=noted[0] or "(text)", after=noted[1] or "(text)", subject=subject)
    elif _text(before) != _text(after):
        yield _texts(clean(_text(before)), clean(_text(after)), subject)


def _note(diff: Mapping[str, Any], side: str) -> str:
    """Why Ansible does not show a side (`dst` is what is there, `src` what comes), or nothing."""
    if diff.get(f"{side}_binary"):
        return "(binary)"
    return f"(more than {diff[f'{side}_larger']} bytes)" if diff.get(f"{side}_larger") else ""


def _former_line(line: str) -> str:
    return f"-{FORMER}" if line.startswith("-") and not line.startswith("---") else line


def _without_former(before: str, after: str) -> str:
    """What is there now, for a text that gets a secret: lines that go may hold its former value, which nobody can tell any more."""
    if MASK not in after:
        return before
    staying = set(after.splitlines())
    return "".join(line if line.rstrip("\r\n") in staying else f"{FORMER}\n" for line in before.splitlines(keepends=True))


def _texts(before: str, after: str, subject: str) -> Piece:
    before = _without_former(before, after)
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        lines = iter([f"(not compared: {len(old):,} lines before, {len(new):,} lines after)"])
    else:
        lines = unified_diff(old, new, f"before: {subject}", f"after: {subject}", lineterm="")
    return Piece(what="content", before=bounded(before), after=bounded(after), diff=bounded("\n".join(lines)), subject=subject)


def hides_mode(result: Mapping[str, Any]) -> bool:
    """Whether a file that is there gets new content and a mode or owner as well: modules then tell of the content alone."""
    content = any(isinstance(diff.get("before"), str) and diff["before"] and diff["before"] != diff.get("after") for diff in _diffs(result))
    return content and any(_module_arguments(result).get(name) is not None for name in ("mode", "owner", "group"))


def cleaned(value: Any, clean: Clean) -> Any:
    """A value from a result with every text in it cleaned and bounded."""
    if isinstance(value, str):
        return bounded(clean(value))
    if isinstance(value, Mapping):
        return {clean(str(key)): cleaned(item, clean) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, clean) for item in value]
    return value


def bounded(text: str, limit: int = LIMIT) -> str:
    """At most about `limit` characters; the rest is told by its length and the digest of the (cleaned) whole."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n({len(text) - limit} more characters, SHA-256 of the whole {digest_bytes(text.encode('utf-8', 'replace'))})"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def fields(told: Iterable[tuple[str, Sequence[Piece]]]) -> tuple[ProposedField, ...]:
    """A host's fields, sorted by path, from its tasks' keys and pieces. Equal paths are numbered in the order in which they come."""
    seen: Counter[str] = Counter()
    found = []
    for key, several in told:
        for piece in several:
            path = "/".join(["/tasks", *(escape(part) for part in (key, piece.item, piece.subject, piece.what) if part)])
            seen[path] += 1
            numbered = path if seen[path] == 1 else f"{path}#{seen[path]}"
            found.append(ProposedField(path=numbered, before=piece.before, after=piece.after, diff=piece.diff))
    return tuple(sorted(found, key=lambda field: field.path))


def proposal_digest(proposed: Sequence[ProposedField]) -> str:
    """Over paths and values; of no fields, `NOTHING`, which is what a run ends at."""
    return digest(sorted([field.path, field.before, field.after] for field in proposed)) if proposed else NOTHING
