"""The exact bytes of every file of every case. `UPDATE_GOLDEN=1 pytest tests/renderers/test_golden.py` writes them anew."""

import os
from pathlib import Path

import pytest

from renderers.registry import RENDERERS
from tests.renderers.cases import CASES

GOLDEN = Path(__file__).parent / "golden"
SERVED = [(case, format) for case in CASES for format, renderer in RENDERERS.items() if renderer.serves(CASES[case])]


@pytest.mark.parametrize(("case", "format"), SERVED)
def test_bytes_are_the_golden_ones(case: str, format: str) -> None:
    renderer = RENDERERS[format]
    path = GOLDEN / case / renderer.filename
    rendered = renderer.render(CASES[case])
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rendered)
    assert rendered == path.read_bytes()


def test_no_golden_file_is_left_over() -> None:
    wanted = {GOLDEN / case / RENDERERS[format].filename for case, format in SERVED}
    assert {path for path in GOLDEN.rglob("*") if path.is_file()} == wanted
