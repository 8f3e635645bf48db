"""Builds the optional C scanner beside its source, where there is a compiler and Python's headers.

    python tools/build_scan.py            # into src/outrider/wire/smtp/, exit code 0 either way
    python tools/build_scan.py --require  # exit code 1 when it cannot be built

Invariant: the extension is replaced whole or not at all; a failed build leaves the pure version in charge.
"""

import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "outrider" / "wire" / "smtp" / "_scan.c"
FLAGS = ("-O3", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror")


def build(folder: Path = SOURCE.parent) -> Path | None:
    """The extension built into `folder`, or None, after saying why, when it cannot be built."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    include = sysconfig.get_paths()["include"]
    if shutil.which(compiler) is None:
        compiler = "cc"
    if shutil.which(compiler) is None or not Path(include, "Python.h").is_file():
        print("the scanner is not built: no C compiler or no Python.h; the pure version serves")
        return None
    name = f"_scan{sysconfig.get_config_var('EXT_SUFFIX')}"
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        target = Path(draft, name)
        command = [compiler, *FLAGS, f"-I{include}", str(SOURCE), "-o", str(target)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            print(f"the scanner is not built; the pure version serves:\n{made.stderr}")
            return None
        return target.replace(folder / name)


if __name__ == "__main__":
    built = build()
    if built is not None:
        print(f"built {built}")
    sys.exit(1 if built is None and "--require" in sys.argv[1:] else 0)
