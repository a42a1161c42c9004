"""Comments that say something to Octofleet: their first line is `octofleet VERB ...`. Pure."""

import re
from dataclasses import dataclass

from reconciler.types.duration import seconds_of

BEGIN = re.compile(r"\s*octofleet(?:\s+(\S+))?(?:[ \t]+(.*?))?\s*(?:\n|$)", re.IGNORECASE)
FOR = re.compile(r"--for[= ](\S+)")
PAUSE_S = 3600.0
MOST = 300

VERBS = {
    "plan": "plan again; for a fork, let this head's plan run engines",
    "apply": "apply what this pull request brought, once it is merged, where the server waits for that",
    "approve": "approve [REASON]: answer for the changes of the plan above",
    "reject": "reject REASON: nobody applies these changes until you approve them",
    "lock": "lock REASON: keep other pull requests from these resources until this one is closed or unlocked",
    "unlock": "let others have what this pull request holds",
    "pause": "pause [--for 2h] REASON: begin nothing on the hosts that this plan changes",
    "resume": "end that pause",
    "help": "say this",
}
"""What can be said, and what it does."""
NEED_REASON = frozenset({"reject", "lock", "pause"})


class Misunderstood(Exception):
    """Something that cannot be done as it was said; the text says why, and never repeats what was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a comment asks for. `for_s`: how long, in seconds."""

    verb: str
    reason: str = ""
    for_s: float = PAUSE_S


def is_command(body: str) -> bool:
    """Whether a comment speaks to Octofleet."""
    return BEGIN.match(body) is not None


def parse(body: str) -> Said:
    """What a comment asks for. Raises `Misunderstood`."""
    found = BEGIN.match(body)
    verb, rest = ((found[1] or "help").lower(), (found[2] or "").strip()) if found else ("", "")
    if verb not in VERBS:
        raise Misunderstood(f"there is no such command; there are: {', '.join(VERBS)}")
    for_s = PAUSE_S
    if verb == "pause" and (said := FOR.search(rest)):
        try:
            for_s = seconds_of(said[1])
        except (ValueError, KeyError) as error:
            raise Misunderstood("--for takes a time such as 30m, 2h or 1d") from error
        rest = (rest[: said.start()] + rest[said.end() :]).strip()
    if verb in NEED_REASON and not rest:
        raise Misunderstood(f"say why: octofleet {verb} REASON")
    return Said(verb=verb, reason=" ".join(rest.split())[:MOST], for_s=for_s)


def help_text() -> str:
    """All commands, one in a line."""
    return "\n".join(f"octofleet {verb:<8}{means}" for verb, means in VERBS.items())
