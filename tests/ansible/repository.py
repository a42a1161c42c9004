"""A repository of Debian packages with one package, `shopd`, whose service is a script of sysvinit."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import copytree

from tests.ansible.lab import Machine
from tests.conftest import program

PACKAGE = Path(__file__).with_name("package")
PLACE = "/srv/packages"


def give(machines: Iterable[Machine], directory: Path, name: str = "shopd", service: str = "shopd") -> None:
    """Build the package as `name` with a service of that name, and make its repository the only one that these hosts know."""
    tree = directory / "package"
    copytree(PACKAGE, tree)
    control, script = tree / "DEBIAN" / "control", tree / "etc" / "init.d" / "shopd"
    control.write_text(control.read_text().replace("Package: shopd", f"Package: {name}"))
    script.write_text(script.read_text().replace("Provides:          shopd", f"Provides:          {service}"))
    for path in (script, tree / "usr" / "bin" / "shopd"):
        path.chmod(0o755)
    script.rename(script.with_name(service))
    subprocess.run(
        [program("dpkg-deb", "dpkg"), "--build", "--root-owner-group", tree, directory / f"{name}.deb"], check=True, capture_output=True
    )
    (directory / "apt").mkdir()
    listed = subprocess.run(
        [program("apt-ftparchive", "apt-utils"), "packages", "."], cwd=directory, check=True, capture_output=True
    ).stdout
    lines = f"rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*; echo 'deb [trusted=yes] file:{PLACE} ./' >/etc/apt/sources.list"
    for machine in machines:
        machine.put(f"{PLACE}/Packages", listed)
        machine.put(f"{PLACE}/{name}.deb", (directory / f"{name}.deb").read_bytes())
        machine.run(f"{lines}; apt-get update -qq")
