"""Comments that say something to Octofleet: their first line is `octofleet VERB ...`. Pure."""

import re
from dataclasses import dataclass

from reconciler.types.duration import seconds_of

FOR = re.compile(r"--for[= ](\S+)")
NAME = "octofleet"
ID = re.compile(r"(?:plan\s+)?([0-9a-f]{8,64})(?:\s+|$)")
SCOPE = re.compile(r"(fleet|(?:tenant|host)/[^\s/]+(?:/[^\s/]+)?)(?:\s+|$)")
PAUSE_S = 3600.0
MOST = 300

VERBS = {
    "plan": "[HEAD]: plan again; for a fork, which names its head, let that head's plan run engines",
    "apply": "apply what this pull request brought, once it is merged, where the server waits for that",
    "approve": "[PLAN] [REASON]: answer for the changes of a plan, as it is shown",
    "reject": "[PLAN] REASON: nobody applies these changes until you approve them",
    "lock": "REASON: keep other pull requests from these resources until this one is closed or unlocked",
    "unlock": "let others have what this pull request holds",
    "pause": "[fleet | tenant/NAME | host/TENANT/NAME] [--for 2h] REASON: begin nothing there for a while",
    "resume": "[fleet | tenant/NAME | host/TENANT/NAME]: end that pause",
    "help": "say this",
}
"""What can be said, and what it does."""
NEED_REASON = frozenset({"reject", "lock", "pause"})


class Misunderstood(Exception):
    """Something that cannot be done as it was said; the text says why, and never repeats what was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a comment asks for. `names`: the beginning of the id of a plan, or for `plan` of a head, if it names one;
    `for_s`: how long, in seconds, and `scope` where, for a pause."""

    verb: str
    reason: str = ""
    names: str = ""
    scope: str = "fleet"
    for_s: float = PAUSE_S


def is_command(body: str) -> bool:
    """Whether a comment speaks to Octofleet."""
    return _words(body)[0].lower() == NAME


def _words(body: str) -> tuple[str, str, str]:
    """The first two words of a comment's first line, and the rest of that line; empty where there is nothing."""
    first, second, rest = [*body.strip().partition("\n")[0].split(maxsplit=2), "", "", ""][:3]
    return first, second, rest.strip()


def parse(body: str) -> Said:
    """What a comment asks for. Raises `Misunderstood`."""
    name, verb, rest = _words(body)
    verb = (verb or "help").lower()
    if name.lower() != NAME or verb not in VERBS:
        raise Misunderstood(f"there is no such command; there are: {', '.join(VERBS)}")
    for_s, names, scope = PAUSE_S, "", "fleet"
    if verb in ("plan", "approve", "reject") and (said := ID.match(rest)):
        names, rest = said[1], rest[said.end() :]
    if verb in ("pause", "resume") and (said := SCOPE.match(rest)):
        scope, rest = said[1], rest[said.end() :]
    if verb == "pause" and (said := FOR.search(rest)):
        try:
            for_s = seconds_of(said[1])
        except (ValueError, KeyError) as error:
            raise Misunderstood("--for takes a time such as 30m, 2h or 1d") from error
        rest = (rest[: said.start()] + rest[said.end() :]).strip()
    if verb in NEED_REASON and not rest:
        raise Misunderstood(f"say why: octofleet {verb} REASON")
    return Said(verb=verb, reason=" ".join(rest.split())[:MOST], names=names, scope=scope, for_s=for_s)


def help_text() -> str:
    """All commands, one in a line."""
    return "\n".join(f"octofleet {verb:<8}{means}" for verb, means in VERBS.items())
