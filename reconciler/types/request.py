"""What to plan."""

from dataclasses import dataclass

from reconciler.types.change import Cause


@dataclass(frozen=True, kw_only=True)
class Request:
    """See the module. `refresh`: observe everything in scope, not only what differs. `accept_history`: go on although history was rewritten.
    `causes`: leave out changes that have none of these. `oldest`: observe so many of those that were seen longest ago too. `unattended`: nobody looks on,
    so leave alone what is for people (the Fleet's `reportOnly`), and for a while what has failed. `reported`: leave alone what has only these causes.
    `own`: the base is a followed branch, so that only a Fleet that nobody applies, or that is applied from there, is planned: a pull request names no other.
    `look`: false for a commit that is not trusted: nothing is observed, and what an engine would have to foresee is put off."""

    rev: str | None = None
    base: str | None = None
    scope: str = ""
    refresh: bool = False
    accept_history: bool = False
    causes: frozenset[Cause] | None = None
    oldest: int = 0
    unattended: bool = False
    reported: frozenset[Cause] = frozenset()
    own: bool = False
    look: bool = True
