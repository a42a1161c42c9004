"""Who asks over HTTP, and how far: what every route of the server is given."""

from dataclasses import dataclass

from reconciler.identity.access import Action, Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`actions`: those that an API token is good for, None for a person who has signed in. `session`: of that person, hashed, empty with a token. `csrf`: what
    the forms of that session carry. `name`: for people to read."""

    identity: Identity
    name: str
    actions: frozenset[Action] | None = None
    session: str = ""
    csrf: str = ""

    def may_use(self, action: Action) -> bool:
        """Whether a token is good for an action at all; whether its identity may do it is for `Access` to say."""
        return self.actions is None or action in self.actions
