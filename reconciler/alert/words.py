"""A message in words: what a channel's templates see, what they are checked by, and those of a channel that has none. Pure.

Everything is plain text, in one line for each value; whoever sends it writes it so that the receiver takes it for text too.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.alert.condition import Condition
from reconciler.alert.line import Message

TITLE = "Octofleet: {{ summary }}"
BODY = """\
{% for alert in opened %}{{ alert.event }}: {{ alert.subject }}: {{ alert.text }}{% if alert.next %}; next: {{ alert.next }}{% endif %}
{% endfor %}{% if more.opened %}and {{ more.opened }} more
{% endif %}{% for alert in still %}still, since {{ alert.since }}: {{ alert.event }}: {{ alert.subject }}: {{ alert.text }}
{% endfor %}{% if more.still %}and {{ more.still }} more that are still so
{% endif %}{% for alert in over %}over: {{ alert.event }}: {{ alert.subject }}
{% endfor %}{% if more.over %}and {{ more.over }} more that are over
{% endif %}{% if unsaid %}{{ unsaid }} more came and went before they could be told
{% endif %}"""
MOST, MOST_TEXT, MOST_BODY = 20, 500, 8000
LISTS = ("opened", "still", "over")
NAMES = frozenset({"channel", "summary", "more", "unsaid", *LISTS})
FIELDS = frozenset({"event", "source", "tenant", "subject", "text", "next", "since"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """What is wrong with a template, at a line and column of its text, from 1."""

    message: str
    line: int
    column: int


def variables(message: Message, channel: str) -> dict[str, Any]:
    """What a template sees: of each list the first few, and how many more there are."""
    lists = {name: getattr(message, name) for name in LISTS}
    return {
        "channel": channel,
        "summary": summary(message),
        "unsaid": message.unsaid,
        "more": {name: max(len(found) - MOST, 0) for name, found in lists.items()},
    } | {name: [_shown(item) for item in found[:MOST]] for name, found in lists.items()}


def summary(message: Message) -> str:
    """What it is about, in one line: `2 new, 1 over: run failed, drift found (shop)`."""
    numbers = {"new": len(message.opened), "still so": len(message.still), "over": len(message.over)}
    found = (*message.opened, *message.still, *message.over)
    events = dict.fromkeys(item.event.words for item in found)
    tenants = dict.fromkeys(item.tenant for item in found if item.tenant)
    said = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
    return plain(f"{said}: {', '.join(events)}" + (f" ({', '.join(tenants)})" if tenants else ""))


def _shown(item: Condition) -> dict[str, str]:
    since = f"{datetime.fromtimestamp(item.since, UTC):%Y-%m-%d %H:%M} UTC"
    found = {name: plain(str(getattr(item, name))) for name in FIELDS - {"event", "since"}}
    return found | {"event": item.event.words, "since": since}


def plain(text: str) -> str:
    """The text in one line, without what is not to be seen, and not too long."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(line.split())[:MOST_TEXT]


def mistakes(template: str) -> list[Mistake]:
    """What can be told to be wrong with a template without rendering it: its syntax, and names that it will not find."""
    import jinja2  # noqa: PLC0415 - only for repositories that have such a template
    from jinja2 import nodes  # noqa: PLC0415

    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - nothing is rendered; what is sent is plain text
    lines = template.splitlines()

    def mistake(name: str, line: int, message: str) -> Mistake:
        found = re.search(rf"\b{re.escape(name)}\b", lines[line - 1]) if name and line <= len(lines) else None
        return Mistake(message=message, line=line, column=found.start() + 1 if found else 1)

    try:
        tree = environment.parse(template)
    except jinja2.TemplateSyntaxError as error:
        return [mistake("", error.lineno, error.message or "it cannot be parsed")]
    names = list(tree.find_all(nodes.Name))
    known = NAMES | {name.name for name in names if name.ctx != "load"} | environment.globals.keys()
    known |= {"loop"} if tree.find(nodes.For) else set()
    fields: dict[str, frozenset[str]] = {"more": frozenset(LISTS)}
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.target, nodes.Name) and isinstance(loop.iter, nodes.Name) and loop.iter.name in LISTS:
            fields[loop.target.name] = FIELDS
    found = [
        mistake(name.name, name.lineno, f"there is no variable {name.name}; there are {', '.join(sorted(NAMES))}")
        for name in names
        if name.name not in known
    ]
    for one in tree.find_all(nodes.Getattr):
        of = fields.get(one.node.name) if isinstance(one.node, nodes.Name) else None
        if of is not None and one.attr not in of:
            found.append(mistake(one.attr, one.lineno, f"there is no {one.attr} here; there are {', '.join(sorted(of))}"))
    for used, there in ((nodes.Filter, environment.filters), (nodes.Test, environment.tests)):
        for test in tree.find_all(used):
            if test.name not in there:
                found.append(mistake(test.name, test.lineno, f"there is no {used.__name__.lower()} {test.name}"))
    return found
