"""What an inventory costs, by counts: one host costs one host, and all cost each of them once and no parse that was done before."""

from collections import Counter
from pathlib import Path

import pytest

from reconciler import stages
from reconciler.planning import compiled
from reconciler.reading.inventory import Part, hosts_of, inventory_of
from reconciler.settings import Ansible
from tests.fleets import fleet, installation, repo


@pytest.mark.parametrize(("host", "scope", "resolved"), [("web-02", "", 1), ("", "host/shop/web-0[12]", 2), ("", "", 5)])
def test_only_what_is_asked_for_is_resolved(host: str, scope: str, resolved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, place = installation(tmp_path / "data"), repo(tmp_path / "repo", fleet(hosts=5)).path
    repository = made.repository(str(place))
    compiled(made, repository, repository.commit())
    counted: Counter[str] = Counter()
    monkeypatch.setattr(stages, "counters", [lambda name, number: counted.update({name: number})])
    desired = compiled(made, repository, repository.commit())
    part = Part(source="test", commit="c", desired=desired, groups=list(hosts_of(desired)), why=str)
    document = inventory_of([part], Ansible(), scope, host)
    assert len(document["_meta"]["hostvars"]) == counted["hosts_resolved"] == resolved
    assert not [name for name in counted if "pars" in name]
    made.close()
