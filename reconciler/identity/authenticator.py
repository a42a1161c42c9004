"""What each way to sign in implements: local accounts and directories check a password, identity providers send the browser back with an answer.

Both end in an `Authenticated`; sessions, limits, cookies and the audit trail are those of `signing_in`, whichever way somebody came.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """Who somebody was found to be. `identity`: as RoleMappings name him, `account:ada`, in canonical form; `name`: for people; `groups`: all those that the
    directory says he is in now, nested ones included, as `group:NAME`, and none from anywhere else. `proof`: what `holds` compares; never shown."""

    identity: str
    name: str
    groups: frozenset[str] = frozenset()
    proof: str = field(default="", repr=False)


class PasswordCheck(ABC):
    """A way to sign in with name and password. Tries are counted, and limited, before it is asked."""

    name: str
    """What it is called in settings and in the audit trail."""

    @abstractmethod
    def check(self, name: str, password: str) -> Authenticated | None:
        """Who this is, or None: for an unknown name, a wrong password and a disabled account alike, in the same time as far as it can tell.

        `name` is canonical, or empty for one that nobody can have; `password` is any text. It must never take an empty password for right (an LDAP server
        answers an empty one with success). Raises `RetryLater` where it cannot know now: nobody is signed in then. No error holds the password."""

    @abstractmethod
    def holds(self, connection: Connection, found: Authenticated) -> bool:
        """Whether what was checked is still so, in the transaction that makes the session, and until it ends: no session comes of a password that was
        changed, or of an account that was disabled, while it was checked. A directory that says nothing of changes gives True."""


class RedirectFlow(ABC):
    """A way to sign in at somebody else's page (OIDC, SAML)."""

    name: str
    """What it is called in settings and in the audit trail."""

    @abstractmethod
    def begin(self, back: str) -> tuple[str, bytes]:
        """The address to send the browser to, and what `finish` needs to know then, which the server keeps in the browser's own sealed cookie, for minutes
        and for one use: what binds the answer to this browser (state, nonce, PKCE verifier, request id). `back`: the address for the answer."""

    @abstractmethod
    def finish(self, kept: bytes, answer: Mapping[str, str]) -> Authenticated:
        """Who came back with this answer (query or form fields). It must have verified that the answer is signed by the provider, made for this server and
        for what `begin` asked, not expired, and not used before. Groups are those of the answer, or asked of the provider now. Raises `Refused`."""
