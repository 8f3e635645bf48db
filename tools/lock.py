"""Pins the dependencies: requirements*.in → requirements*.txt, with hashes and nothing else.

In: the .in files, and the package index that pip is configured to use on this machine. Out: lock files of
pins and hashes. uv does not read pip's configuration, so it is handed over in the environment; no address
is written.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.project_files import ROOT

FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
    "trusted-host": "UV_INSECURE_HOST",
}
"""pip's option and the variable by which uv takes the same; the names are those of the two programs."""

FROM_PIP_LOCAL = {"extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
"""Handed over only when the main index alone does not do: such places often hold one wheel of a release, and
a lock made from them would lack the hashes of the others."""

LOCKS = ("requirements", "requirements-dev")


def pip_settings() -> dict[str, str]:
    """What pip is configured with here; later sections, such as the environment's, win."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    found: dict[str, str] = {}
    for line in subprocess.run(pip, check=True, capture_output=True, text=True).stdout.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            found[name.rpartition(".")[2]] = value.strip("'\"").replace("\\n", " ")
    return found


def uv_environment(
    pip: dict[str, str], environment: dict[str, str], *, local: bool = False
) -> dict[str, str]:
    """The environment for uv; what it already has for uv stays."""
    options = FROM_PIP | FROM_PIP_LOCAL if local else FROM_PIP
    handed = {uv: pip[name] for name, uv in options.items() if pip.get(name)}
    if "UV_FIND_LINKS" in handed:
        handed["UV_FIND_LINKS"] = ",".join(handed["UV_FIND_LINKS"].split())
    return {**handed, **environment}


def compile_lock(name: str, environment: dict[str, str], root: Path = ROOT) -> bool:
    """Writes `name`.txt from `name`.in; False when uv could not."""
    options = ["--upgrade", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    options += ["--no-emit-find-links", "--python-version", "3.11", "--index-strategy", "unsafe-best-match"]
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "-q", *options]
    done = subprocess.run(
        [*command, f"{name}.in", "-o", f"{name}.txt"], check=False, cwd=root, env=environment
    )
    return done.returncode == 0


def main() -> int:
    """Writes both lock files; 1 when one could not be made."""
    pip = pip_settings()
    for name in LOCKS:
        attempts = (uv_environment(pip, dict(os.environ), local=local) for local in (False, True))
        if not any(compile_lock(name, environment) for environment in attempts):
            print(f"{name}.in could not be resolved: see above")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
