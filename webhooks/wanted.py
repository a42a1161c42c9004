"""What is to stand at a forge, as it is kept in the queue (`store.postings`): put there, and read again to be said."""

import msgspec

from reconciler.store.engine import Connection
from reconciler.store.postings import COMMENT, Posting, want
from reconciler.store.pulls import PullKey
from webhooks.forge import Client, Status, Unreadable
from webhooks.said import TAG

STATUS, HEARD = "status", "heard"


def want_comment(connection: Connection, key: PullKey, text: str) -> None:
    """Have the one comment on a pull request say this; it begins with `said.TAG`, by which it is found again."""
    want(connection, key, COMMENT, text.encode())


def want_status(connection: Connection, key: PullKey, commit: str, status: Status) -> None:
    """Have a commit of a pull request have this status."""
    want(connection, key, f"{STATUS} {status.context} {commit}", msgspec.json.encode(status))


def want_heard(connection: Connection, key: PullKey, comment: str) -> None:
    """Show whoever wrote a command that it was heard."""
    want(connection, key, f"{HEARD} {comment}", b"")


async def say(client: Client, posting: Posting) -> str:
    """Tell the forge; gives the name of what stands there, as far as it has one. Raises as `Client` does."""
    key = posting.key
    match posting.what.split(" "):
        case ["comment"]:
            return await client.put_comment(key.project, key.number, posting.body.decode(), TAG, posting.id)
        case ["status", _, commit]:
            await client.put_status(key.project, commit, msgspec.json.decode(posting.body, type=Status))
        case ["heard", comment]:
            await client.acknowledge(key.project, key.number, comment)
        case _:
            raise Unreadable(f"nobody knows how to post {posting.what}")
    return posting.id
