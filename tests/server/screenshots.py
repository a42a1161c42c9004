"""Takes the pictures of the documentation: `python -m tests.server.screenshots docs/pictures`."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server.browser import DESKTOP, PHONE, View, chromium, looking
from tests.server.site import Web, web
from tests.server.specimen import ADA, specimens
from tests.server.tenants import CALLERS, change_both, two_tenants

LARGEST = 100_000
"""Bytes of a picture."""
DARK, SMALL = View(name="dark", dark=True), View(name="phone", size=PHONE)
PICTURES = (("runs", "/runs", View(name="desktop")), ("sign-in", "/specimen/sign-in", DARK), ("run-phone", "/runs/{run}", SMALL))
"""What is kept: name, path, and how it is looked at."""


@contextmanager
def shown(directory: Path) -> Iterator[tuple[Web, dict[str, str]]]:
    """A site with something on every page, and what stands for the `{names}` of paths."""
    site = two_tenants(directory, f"sqlite:///{directory / 'shown.db'}")
    change_both(site)
    run = site.begin()
    with web(site.installation, *CALLERS, ADA, parts=[specimens()]) as served:
        yield served, {"run": run}


def main(directory: Path, *, every: bool = False) -> None:
    """Write the pictures; `every`: of the specimens too, whole pages, however large."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = ("/runs", "/runs/{run}", "/runs/none", "/specimen", "/specimen/refused", "/specimen/first", "/specimen/account")
    views = (View(name="desktop"), DARK, SMALL, View(name="phone-dark", size=PHONE, dark=True))
    named = [(path, path.strip("/").replace("/", "-").replace("{run}", "one")) for path in paths]
    everything = [(f"{name}-{view.name}", path, view) for path, name in named for view in views]
    with tempfile.TemporaryDirectory() as made, shown(Path(made)) as (served, names), chromium() as browser:
        for name, path, view in everything if every else PICTURES:
            with looking(browser, served, view, by="github:root", reduced_motion="reduce") as page:
                page.goto(path.format(**names))
                image = page.screenshot(path=directory / f"{name}.png", full_page=every or view.size != DESKTOP)
                if len(image) > LARGEST and not every:
                    sys.exit(f"{name}.png has {len(image):,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), every=sys.argv[2:] == ["every"])
