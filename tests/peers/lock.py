"""Renews constraints.txt: the exact versions that a fresh environment gets from the ranges of pyproject.toml."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEADER = "# Exact versions for reproducible installs; renewed by `make lock`, ranges are in pyproject.toml.\n"


def main() -> None:
    """Install everything into a fresh environment and write down what came."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = f"{directory}/bin/python"
        extra = subprocess.run([sys.executable, ROOT / "tests/peers/dev_requirements.py"], check=True, capture_output=True, text=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", f"{ROOT}[ansible,lint,vault,otel,postgresql,s3]", *extra.stdout.split()], check=True
        )
        frozen = subprocess.run([python, "-m", "pip", "freeze", "--exclude", "octofleet"], check=True, capture_output=True, text=True)
    (ROOT / "constraints.txt").write_text(HEADER + frozen.stdout)


if __name__ == "__main__":
    main()
