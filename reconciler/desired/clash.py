"""Identity clashes over the whole fleet: two hosts with one MAC or one address in the same network. Pure."""

from collections.abc import Iterator
from ipaddress import ip_address

from reconciler.desired.catalog import Catalog
from reconciler.desired.manifest import Manifest, Ref, show
from reconciler.types.host import ResolvedHost

Identity = tuple[str, Ref | None, str]


def _spelled(key: str, text: str) -> str:
    """One spelling for every way to write the same address."""
    return str(ip_address(text)) if key == "address" else text.lower()


class Clashes:
    """Sees each host once, in any order, and tells who shares an identity. Holds one entry for each MAC and address."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seen: dict[Identity, Manifest] = {}
        self._shared: dict[Identity, list[Manifest]] = {}

    def see(self, manifest: Manifest, host: ResolvedHost) -> None:
        """Take note of one host."""
        for interface in host.values.get("interfaces", ()):
            network = self._catalog.find("Network", host.tenant, interface.get("network", ""))
            for what, key in (("MAC", "mac"), ("address", "address")):
                if key in interface:
                    self._note((what, network.ref if network else None, _spelled(key, interface[key])), manifest)

    def _note(self, identity: Identity, manifest: Manifest) -> None:
        first = self._seen.setdefault(identity, manifest)
        if first is not manifest:
            self._shared.setdefault(identity, [first]).append(manifest)

    def found(self) -> Iterator[tuple[Manifest, str]]:
        """Every host that shares an identity, with the message."""
        for (what, network, value), manifests in self._shared.items():
            where = f" in {show(network)}" if network else ""
            for manifest in manifests:
                others = ", ".join(sorted(f"host/{m.tenant}/{m.name}" for m in manifests if m is not manifest))
                yield manifest, f"host/{manifest.tenant}/{manifest.name} has the {what} {value}{where}, and so has {others}"
