"""The exit codes of every process and command of the house, once.

They are those of sysexits.h where it has one, so that service managers, mail filters and scripts know what to
do: 75 is worth another try, 78 is not until somebody has changed the configuration.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Why a process ended; `about` says it for people."""

    about: str

    def __new__(cls, code: int, about: str) -> "Exit":
        member = int.__new__(cls, code)
        member._value_ = code
        member.about = about
        return member

    OK = 0, "Done."
    FOUND = 1, "A check found something wrong, or what was looked for is not there."
    USAGE = 64, "The command was not given as it must be; the message says how."
    DATA = 65, "What was handed in is not valid, or the server refuses it as it is."
    UNAVAILABLE = 69, "Somebody who is needed does not answer: the server, its dispatcher, a name server."
    SOFTWARE = 70, "A bug of ours; the log holds its place."
    CANNOT_CREATE = 73, "A file or directory cannot be made, or is there already."
    IO = 74, "Reading or writing failed: spool, events, database."
    TEMPORARY = 75, "Not now; try again."
    NO_PERMISSION = 77, "This user may not."
    CONFIG = 78, "The configuration is wrong; every fault is named with its place."
    INTERRUPTED = 130, "Ended by Ctrl-C."
    UNREAD = 141, "Whoever read the output, as `head`, has had enough; nothing is said about it."
