"""The TFTP server over a network that loses, doubles and reorders packets: the whole file comes, with and without windows."""

import os

import pytest

from reconciler.boot import tftp, tftp_transfer
from tests.boot.tftp_peers import fetch, lossy, serving

CONTENT = os.urandom(60_000)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tftp_transfer, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(tftp, "TICK_S", 0.02)


@pytest.mark.parametrize("window", [1, 4, 16])
@pytest.mark.parametrize(
    "network", [{"lost": 0.1}, {"doubled": 0.3}, {"late": 0.2}, {"lost": 0.05, "doubled": 0.1, "late": 0.1}], ids="-".join
)
def test_the_whole_file_comes_over_a_bad_network(network: dict[str, float], window: int) -> None:
    with serving({"file": CONTENT}) as found, lossy(found.port, seed=window, **network) as port:
        got = fetch(port, "file", {"blksize": 512, "windowsize": window}, again_s=0.1)
        assert got.content == CONTENT
        assert len(found.asked) <= 2
        assert got.packets <= 118 * max(3, window)
