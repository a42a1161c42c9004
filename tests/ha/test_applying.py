"""The apply of `make ha`, with fewer hosts."""

import pytest

from tests.ha.applying import applying
from tests.ha.topology import Cluster

pytestmark = pytest.mark.xdist_group("ha")


def test_an_apply_outlives_a_worker_a_server_and_the_primary(cluster: Cluster) -> None:
    said: list[str] = []
    figures = {figure.what: figure.value for figure in applying(cluster, said.append, hosts=150)}
    assert figures["changes that did not end as done"] == "0"
    assert int(figures["processes that took part"]) >= 3, said
