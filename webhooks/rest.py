"""What the clients of forges share: one comment, its hidden tag, who we are."""

from abc import abstractmethod
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from webhooks.forge import Client, Commented, Denied, Gone
from webhooks.http import Http


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A comment as it stands. `original`: it is as its author wrote it, neither edited (which others may be able to) nor imported."""

    id: str
    author: str
    body: str
    at: float
    original: bool


class CommentClient(Client):
    """Our one comment among those of others. A forge says how its comments are listed, edited and added, and who we are."""

    def __init__(self) -> None:
        self._account: tuple[Mapping[str, str], str] = ({}, "")

    @abstractmethod
    def _credentials(self) -> Mapping[str, str]:
        """What authenticates us now."""

    @abstractmethod
    def _said(self, project: str, number: int, since: float) -> AsyncIterator[Said]:
        """The comments that people and programs wrote at or after that time; in any order, and others as well."""

    @abstractmethod
    async def _edit(self, project: str, number: int, comment: str, body: str) -> None:
        """Give a comment another text. Raises `Gone` if there is none."""

    @abstractmethod
    async def _add(self, project: str, number: int, body: str) -> str:
        """Write a comment; gives its id."""

    @abstractmethod
    async def _whoami(self) -> str:
        """The login that the token belongs to."""

    async def comments(self, project: str, number: int, since: float) -> Sequence[Commented]:
        """See `Client`. Those of others that were edited are left out: who did it, no forge tells."""
        found, us = await self._since(project, number, since), await self.account()
        return [
            Commented(project=project, number=number, comment=said.id, author=said.author, body=said.body, at=said.at)
            for said in found
            if said.author and (said.original or said.author == us)
        ]

    async def put_comment(self, project: str, number: int, body: str, tag: str, known: str) -> str:
        """See `Client`. A known comment that may not be edited is another account's: of the one that wrote before us."""
        if known:
            with suppress(Gone, Denied):
                await self._edit(project, number, known, body)
                return known
        us = await self.account()
        for said in await self._since(project, number, 0.0):
            if said.author == us and tag in said.body and said.id != known:
                await self._edit(project, number, said.id, body)
                return said.id
        return await self._add(project, number, body)

    async def _since(self, project: str, number: int, since: float) -> Sequence[Said]:
        """Those of that time on, each once, the oldest first. Some forges tell whole seconds."""
        found = {said.id: said async for said in self._said(project, number, since)}
        return sorted((said for said in found.values() if said.at >= int(since)), key=lambda said: (said.at, int(said.id)))

    async def account(self) -> str:
        """See `Client`. Asked anew when the token is another."""
        if self._account[0] != (credentials := self._credentials()):
            self._account = credentials, await self._whoami()
        return self._account[1]


class RestClient(CommentClient):
    """A client on `Http`."""

    def __init__(self, http: Http) -> None:
        super().__init__()
        self._http = http

    def _credentials(self) -> Mapping[str, str]:
        return self._http.credentials()

    async def close(self) -> None:
        """See `Client`."""
        await self._http.close()


def api_url(rules: Rules, root: str, public: str = "") -> str:
    """The URL of a forge's API, which ends with `root` (`/api/v4`), whether or not the settings' does. Raises `OctofleetError`."""
    url = (rules.url or public).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        hint = f"set its url, for example https://git.example.com{root}"
        raise OctofleetError(f"the forge {rules.name} needs the URL of its API, without credentials", hint=hint, code="settings")
    return url if url.endswith(root) else url + root


def bearer(token: Callable[[], str]) -> Callable[[], Mapping[str, str]]:
    """The header that carries a token."""
    return lambda: {"Authorization": f"Bearer {token()}"}


def basic(user: str, token: Callable[[], str]) -> Callable[[], Mapping[str, str]]:
    """The header that carries a user and a token as its password."""
    return lambda: {"Authorization": f"Basic {b64encode(f'{user}:{token()}'.encode()).decode()}"}
