"""Takes the pictures of the documentation: `python -m tests.server.screenshots docs/pictures`; `DIRECTORY every`: each page in each look."""

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.sampling import Sampling
from reconciler.server.route import plain_path
from reconciler.server.routes import ROUTES
from reconciler.store.followed import follow
from reconciler.store.samples import EVERY_S, save_samples
from tests.fleets import host
from tests.server.browser import PHONE, View, chromium, looking
from tests.server.site import Web, web
from tests.server.specimen import ADA, documents, specimens
from tests.server.tenants import CALLERS, change_both, fill, look_again, spoil, two_tenants

LARGEST = 100_000
"""Bytes of a picture."""
DARK, SMALL = View(name="dark", dark=True), View(name="phone", size=PHONE)
VIEWS = (View(name="desktop"), DARK, SMALL, View(name="phone-dark", size=PHONE, dark=True))
PICTURES = (
    ("overview", "/", View(name="desktop")),
    ("plan", "/plans/{plan}", View(name="window", size=(1000, 720))),
    ("host", "/hosts/{tenant}/{name}", DARK),
    ("run-phone", "/runs/{run}", SMALL),
)
"""What is kept: name, path, and how it is looked at."""
ASKED = {"/explain": "?ref=host/{tenant}/{name}", "/facts/hosts": "?where=kernel%3D*", "/search": "?q=web", "/access": "?who=github:sam"}
PATHS = [plain_path(route.page or route.path) + ASKED.get(route.path, "") for route in ROUTES if route.method == "GET" and route.template]
"""Every page that is of a route, with something asked for where it takes that."""
HOUSEKEEPING = "  packages: [htop, tmux]\n  timezone: Europe/Berlin\n"


@contextmanager
def shown(directory: Path) -> Iterator[tuple[Web, dict[str, str]]]:
    """A site with something on every page, and what stands for the `{names}` of paths."""
    site = two_tenants(directory, f"sqlite:///{directory / 'shown.db'}")
    change_both(site)
    run = site.begin()
    fill(site)
    spoil(site, "memory/config/shop/web-02", timezone="Europe/Paris")
    spoil(site, "memory/config/bank/vault-02", timezone="Europe/Rome")
    look_again(site)
    for number in (3, 2):
        site.repo.commit({f"host-{number}.yaml": host(f"web-{number:02d}", number, spec=HOUSEKEEPING) if number == 2 else None})
    Sampling(site.installation).once()
    at = int(time.time() // EVERY_S * EVERY_S)
    with site.store.write() as connection:
        follow(connection, str(site.repo.path))
        waves = ((at - n * EVERY_S, abs(round(6 * math.sin(n / 40))), int(n % 90 < 12)) for n in range(1, 280))
        save_samples(connection, ((then, "test", "shop", 9 - drifted, failed, drifted, 0, failed) for then, drifted, failed in waves))
    with web(site.installation, *CALLERS, ADA, parts=[specimens()]) as served:
        pull = {"forge": "hub", "project": "acme/fleet", "number": "1"}
        yield served, {"run": run, "plan": site.plan().plan.id, "tenant": "shop", "name": "web-02"} | pull


def main(directory: Path, *, every: bool = False) -> None:
    """Write the pictures; `every`: of every page and the specimens, whole, however large."""
    directory.mkdir(parents=True, exist_ok=True)
    named = [(path, path.partition("?")[0].strip("/").replace("/", "-") or "overview") for path in (*PATHS, "/runs/none", *documents())]
    everything = [(f"{name}-{view.name}", path, view) for path, name in named for view in VIEWS]
    with tempfile.TemporaryDirectory() as made, shown(Path(made)) as (served, names), chromium() as browser:
        for name, path, view in everything if every else PICTURES:
            with looking(browser, served, view, by="github:root", reduced_motion="reduce") as page:
                page.goto(path.format(**names))
                image = page.screenshot(path=directory / f"{name}.png", full_page=every)
                if len(image) > LARGEST and not every:
                    sys.exit(f"{name}.png has {len(image):,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), every=sys.argv[2:] == ["every"])
