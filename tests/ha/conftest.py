"""One cluster for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.conftest import program
from tests.ha.topology import PROGRAMS, Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    for name, package in PROGRAMS.items():
        program(name, package)
    with Cluster() as running:
        yield running
