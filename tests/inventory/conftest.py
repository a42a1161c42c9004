"""Made once for all tests of this directory that only read them."""

import pytest

from tests.inventory.world import Ansible, Fleet, installed, make_fleet


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return make_fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return installed(tmp_path_factory.mktemp("ansible"))
