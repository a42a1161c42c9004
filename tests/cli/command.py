"""The command in a forked child of the test, which has the imports already: for tables of many cases. `fleets.octofleet` starts a fresh one."""

from collections.abc import Mapping
from pathlib import Path

from tests.apply.dying import forked
from tests.fleets import Result


def quick(data: Path, *args: str, env: Mapping[str, str] | None = None, logs: Path | None = None) -> Result:
    """Run it; what it printed is in files in `logs`, by default beside the data directory."""
    out, err = (logs or data.parent) / "stdout", (logs or data.parent) / "stderr"
    for file in (out, err):
        file.write_bytes(b"")
    code = forked(data, *args, env=env, log=out, err=err)
    return Result(code=code, out=out.read_text(), err=err.read_text())
