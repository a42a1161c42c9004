"""The histories can fail: whatever is broken in the product, one of them finds it."""

from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, found


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_is_broken_is_found(mutant: Mutant, tmp_path: Path) -> None:
    told = found(mutant, tmp_path)
    assert told, f"{mutant.name}: no history finds it"
    assert told.split()[0].isdigit(), f"{mutant.name} does not run: {told}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_there_is_still_something_to_break(mutant: Mutant) -> None:
    assert mutant.text.count(mutant.old) == 1 and mutant.old != mutant.new
