"""Who signed a commit, by keys that we know.

In: a repository, commits, a directory of keys (see `signers.py`). Out: a verdict for each commit. The name in it is our own, from the directory, never the
signature's; and what was signed is the commit as it stands in the repository, without its signature.
"""

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from reconciler.source.repository import Repository
from reconciler.source.signers import Signers, Trust, Verdict, bad, signers

MOST_COMMITS = 1000
MOST_BYTES, MOST_SIGNATURE = 1 << 20, 64 << 10
LIMIT_S = 120.0
HEADERS = (b"gpgsig", b"gpgsig-sha256")

__all__ = ["Signature", "Trust", "signatures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a commit's signature is worth. `signer`: who signed, as our own directory of keys names them, only if it is good; `reason`: why it is not."""

    commit: str
    trust: Trust
    signer: str = ""
    reason: str = ""


def signatures(repository: Repository, base: str | None, head: str, directory: Path, *, limit_s: float = LIMIT_S) -> tuple[Signature, ...]:
    """Of every commit that `head` has and `base` has not, the newest first; without a base of `head` alone. What there is too much of, or no time for, is
    not trusted. Raises `Permanent` for a directory or a program that is not there."""
    found: list[Signature] = []
    ends = time.monotonic() + limit_s
    with signers(directory) as known:
        for commit in islice(repository.between(base, head), MOST_COMMITS + 1):
            if len(found) == MOST_COMMITS or time.monotonic() > ends:
                found.append(_of(commit, bad(f"not looked at, nor what is before it: too much, after {len(found):,} commits")))
                break
            found.append(_of(commit, _verdict(known, repository.raw_commit(commit))))
    return tuple(found)


def _of(commit: str, verdict: Verdict) -> Signature:
    return Signature(commit=commit, trust=verdict.trust, signer=verdict.signer, reason=verdict.reason)


def _verdict(known: Signers, raw: bytes) -> Verdict:
    if len(raw) > MOST_BYTES:
        return bad("the commit is too large")
    payload, found = split(raw)
    if not found:
        return Verdict(trust=Trust.UNSIGNED, reason="no signature")
    if len(found) > 1 or found[0][0] != HEADERS[0]:
        return bad("more than one signature, or one of another kind")
    if len(found[0][1]) > MOST_SIGNATURE:
        return bad("the signature is too large")
    return known.verdict(payload, found[0][1])


def split(raw: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """What is signed of a commit, and its signatures, each with the name of its header. A header goes on in lines that begin with a space."""
    end = raw.find(b"\n\n")
    head, rest = (raw, b"") if end < 0 else (raw[: end + 1], raw[end + 1 :])
    kept: list[bytes] = []
    found: list[tuple[bytes, list[bytes]]] = []
    into: list[bytes] | None = None
    for line in (part + b"\n" for part in head.removesuffix(b"\n").split(b"\n")):
        if line.startswith(b" "):
            (kept if into is None else into).append(line if into is None else line[1:])
            continue
        name, _, value = line.partition(b" ")
        into = None
        if name in HEADERS:
            into = [value]
            found.append((name, into))
        else:
            kept.append(line)
    return b"".join(kept) + rest, [(name, b"".join(lines)) for name, lines in found]
