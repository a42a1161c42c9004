"""Builds the wheel, installs it into an environment of its own without the source tree, and uses it: what is packed is what works."""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **options: object) -> str:
    """The output of a command; ends this program with its words when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


def main() -> None:
    """Build, install, init, validate."""
    with tempfile.TemporaryDirectory() as directory:
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, "-c", ROOT / "constraints.txt", ROOT)
        wheel = next(Path(directory).glob("octofleet-*.whl"))
        venv.create(f"{directory}/venv", with_pip=True)
        python = f"{directory}/venv/bin/python"
        run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
        environment = {**os.environ, "OCTOFLEET_DATA_DIR": f"{directory}/data", "PYTHONPATH": ""}
        octofleet = f"{directory}/venv/bin/octofleet"
        run(octofleet, "init", f"{directory}/fleet", cwd=directory, env=environment)
        said = run(octofleet, "validate", "--repo", f"{directory}/fleet", cwd=directory, env=environment)
        print(f"{wheel.name} ({wheel.stat().st_size // 1024} kB) installs and works: {said.strip()}")


if __name__ == "__main__":
    main()
