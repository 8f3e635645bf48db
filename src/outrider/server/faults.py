"""Which file primitive a process uses: the operating system's, or one with the faults that a test asks for.

The environment variable `OUTRIDER_FAULTS` holds faults as `base.faults.parse_faults` reads them; it is for
crash tests of a whole server and is logged loudly by whoever starts with it.
"""

from collections.abc import Mapping

from outrider.base.faults import FaultyFiles, parse_faults
from outrider.base.files import Files, OsFiles

VARIABLE = "OUTRIDER_FAULTS"


def files_of(environment: Mapping[str, str]) -> Files:
    """The file primitive of this process.

    Raises:
        ConfigError: The faults are not written as they must be.
    """
    text = environment.get(VARIABLE, "")
    return FaultyFiles(OsFiles(), parse_faults(text)) if text else OsFiles()
