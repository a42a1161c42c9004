"""Who signed a commit, by keys that we know: OpenPGP through `gpgv` and SSH through `ssh-keygen`, run as programs.

In: a repository, commits, a directory of keys. Out: a verdict for each commit. The name in it is our own, from the directory, never the signature's.
"""

from dataclasses import dataclass
from enum import StrEnum


class Trust(StrEnum):
    """What is to be thought of a commit's signature."""

    GOOD = "good"
    UNKNOWN_KEY = "unknown-key"
    BAD = "bad"
    EXPIRED = "expired"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a commit's signature is worth. `signer`: who signed, as our own directory of keys names them, only if it is good; `reason`: why it is not."""

    commit: str
    trust: Trust
    signer: str = ""
    reason: str = ""
