"""Comments that say something to Octofleet: their first line is `octofleet VERB ...`. Pure."""

import re
from dataclasses import dataclass

from reconciler.types.duration import seconds_of

FOR = re.compile(r"--for[= ](\S+)")
NAME = "octofleet"
ID = re.compile(r"(?:plan\s+)?((?=[a-f]*\d)[0-9a-f]{6,64}|[0-9a-f]{8,64})(?:\s+|$)")
"""The beginning of a plan's id or a commit's; a short one has a digit, so that it is no word."""
SCOPE = re.compile(r"(fleet|tenant/[^\s/]+|host/[^\s/]+/[^\s/]+)(?:\s+|$)")
PAUSE_S = 3600.0
MOST = 300

VERBS = {
    "plan": ("[HEAD]", "look at the world, and plan again; of a fork, trust this very head"),
    "approve": ("[PLAN] [REASON]", "answer for all changes of the plan"),
    "reject": ("[PLAN] REASON", "have nobody apply these changes, until you approve them"),
    "lock": ("REASON", "keep other pull requests from these resources"),
    "unlock": ("", "let others have them, until something is pushed"),
    "pause": ("[SCOPE] [--for 2h] REASON", "begin nothing there for a while, or for an hour"),
    "resume": ("[SCOPE]", "end that pause"),
    "apply": ("", "once it is merged: apply it, where the server waits for that"),
    "help": ("", "say this"),
}
"""What can be said, what follows it, and what it does."""
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
    if verb == "pause" and (said := FOR.search(rest)):
        try:
            for_s = seconds_of(said[1])
        except (ValueError, KeyError) as error:
            raise Misunderstood("--for takes a time such as 30m, 2h or 1d") from error
        rest = (rest[: said.start()] + rest[said.end() :]).strip()
    if verb in ("pause", "resume") and (said := SCOPE.match(rest)):
        scope, rest = said[1], rest[said.end() :]
    elif verb in ("pause", "resume") and rest.startswith(("tenant/", "host/")):
        raise Misunderstood("a scope is fleet, tenant/NAME or host/TENANT/NAME")
    if verb in NEED_REASON and not rest:
        raise Misunderstood(f"say why: octofleet {verb} REASON")
    return Said(verb=verb, reason=" ".join(rest.split())[:MOST], names=names, scope=scope, for_s=for_s)


def help_text() -> str:
    """All commands, one in a line; what stands in brackets may be left out."""
    said = {f"octofleet {verb} {follows}": means for verb, (follows, means) in VERBS.items()}
    lines = [f"{words:<{max(map(len, said))}}  {means}" for words, means in said.items()]
    return "\n".join([*lines, "", "SCOPE: fleet (if left out), tenant/NAME or host/TENANT/NAME"])
