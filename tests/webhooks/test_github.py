"""GitHub keeps the contract of every forge; what is its own is in `test_github_reader.py` and `test_github_client.py`."""

from collections.abc import Iterator
from typing import ClassVar

from reconciler.settings import Forge as Rules
from tests.peers.forges.double import TOKEN, Double
from tests.peers.forges.github import GithubDouble
from tests.webhooks.contract import Contract
from webhooks.forge import Forge, Verdict
from webhooks.github import make


class TestGithub(Contract):
    words: ClassVar = {Verdict.PENDING: "pending", Verdict.SUCCESS: "success", Verdict.FAILURE: "failure", Verdict.ERROR: "error"}

    def double(self) -> Double:
        return GithubDouble()

    def forge(self, url: str) -> Forge:
        return make(Rules(name="hub", type="github", url=url), lambda: TOKEN)

    def other(self, url: str) -> Forge:
        return make(Rules(name="hub", type="github", url=url), lambda: "wrong-token")

    def hurry(self, forge: Forge, call_s: float) -> None:
        forge.client._api.origin.call_s = call_s  # type: ignore[attr-defined]

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        yield {"x-github-event": "ping"}, {"zen": "x"}
        yield {"x-github-event": "issues"}, {"action": "opened"}
