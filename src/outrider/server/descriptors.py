"""How many descriptors a process may have: all that it is allowed, because each connection is one.

Theory: shells and service managers start programs with a soft limit of 1,024, for the sake of those that use
select(2), and with a hard limit that is far above it. The server waits by epoll(7), so the hard limit is what
counts; the doctor compares that with what the listeners may take.

Standards: getrlimit(2), RLIMIT_NOFILE. Raising the soft limit needs no privilege.
"""

import resource

from outrider.base.log import Log


def raise_descriptors(log: Log) -> None:
    """Let this process and all that it will fork have as many descriptors as the hard limit says."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("server.descriptors_kept", limit=soft, error=str(error))
