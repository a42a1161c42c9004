"""Thousands of short histories of many workers, each drawn by a seed, in every one of which every promise holds.

A seed that fails is played again, with all that happened, by

    SEED=n python -m pytest -s tests/simulation/test_simulation.py -k replay

and `SEEDS=n` says how many more than usual are played by `make test-slow`.
"""

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from tests.conftest import ROOT
from tests.simulation.history import replay

BLOCKS, PER_BLOCK = 8, 250
COMMAND = "SEED={} python -m pytest -s tests/simulation/test_simulation.py -k replay"


def play(seeds: range) -> None:
    for seed in seeds:
        broken, trace = replay(seed)
        assert not broken, f"seed {seed}: {broken}\n" + "\n".join(trace[-30:]) + f"\nplay it again with: {COMMAND.format(seed)}"


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_promise_holds_whatever_happens(block: int) -> None:
    play(range(block * PER_BLOCK, (block + 1) * PER_BLOCK))


@pytest.mark.slow
def test_every_promise_holds_for_long() -> None:
    first = BLOCKS * PER_BLOCK
    play(range(first, first + int(os.environ.get("SEEDS", "20000"))))


@pytest.mark.skipif("SEED" not in os.environ, reason="plays the one seed that SEED names")
def test_replay() -> None:
    broken, trace = replay(int(os.environ["SEED"]))
    print("\n".join(trace))
    assert not broken, broken


def traces(first: int, last: int) -> str:
    """A digest of all that happens in some histories."""
    return sha256("\n".join(line for seed in range(first, last) for line in replay(seed)[1]).encode()).hexdigest()


def test_a_seed_is_one_history_in_every_process() -> None:
    command = [sys.executable, "-c", "from tests.simulation.test_simulation import traces; print(traces(40, 60))"]
    told = set()
    for number in ("1", "2", "77"):
        env = os.environ | {"PYTHONHASHSEED": number, "PYTHONPATH": str(ROOT)}
        told.add(subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.strip())
    assert told == {traces(40, 60)}
