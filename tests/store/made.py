"""Records to store."""

from reconciler.types.resource import Dependency, OnDelete, Recorded, Rules

RULES = Rules(
    tenant="shop",
    provider="p",
    order=3,
    protect=True,
    on_delete=OnDelete.FORGET,
    depends_on=(Dependency(address="a/b/c/d", lifetime=True),),
)


def record(where: str, source: str = "f", **more: str) -> Recorded:
    said = {"digest": "d" * 64, "group": "host/shop/a", "external_id": "x", "observed_digest": "o", "commit": "c"} | more
    return Recorded(address=where, source=source, rules=RULES, **said)  # type: ignore[arg-type]
