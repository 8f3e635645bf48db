"""One node: checks the surroundings, opens the sockets, and has the supervisor run the processes.

Takes validated settings; returns the exit code when the server has ended.
"""

import fcntl
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from outrider.base.clock import Clock, SystemClock
from outrider.base.errors import ConfigError
from outrider.base.log import Log
from outrider.net.loop import run as run_loop
from outrider.policy.shared import create_cells
from outrider.policy.surroundings import begin_shared
from outrider.record.log import open_log, set_level, set_rotation
from outrider.server.activation import activated_sockets
from outrider.server.configuration import Configuration
from outrider.server.control import run_control
from outrider.server.descriptors import raise_descriptors
from outrider.server.dispatch_process import run_dispatcher
from outrider.server.doors import Doors, check_certificates, endpoint, metrics_sockets
from outrider.server.faults import VARIABLE, files_of
from outrider.server.keys import prepare_keys
from outrider.server.lifecycle import Birth, Lifecycle, live
from outrider.server.notify import Notifier
from outrider.server.reload import Reloads
from outrider.server.scheduling import take_batch
from outrider.server.scripts import check_scripts
from outrider.server.settings import Settings
from outrider.server.supervisor import Supervisor
from outrider.server.worker import run_worker
from outrider.server.worker_reload import prepare as prepare_worker
from outrider.spool.directory import SpoolDirectory

DIRECTORY_MODE = 0o700
# the spool holds mail and the run directory the control socket: nobody else's business

SOCKET_PATH_OCTETS_MAX = 107
# linux/include/uapi/linux/un.h: UNIX_PATH_MAX is 108, with the final NUL
LONGEST_SOCKET = "dispatcher.sock"

LOCK_ADVICE = (
    "another server works in this directory: stop it, or give this one its own server.state_directory and "
    "server.run_directory"
)

Main = Callable[[Birth, Lifecycle], Awaitable[None]]


def _main_of(main: Main) -> Callable[[Birth], None]:
    """`main` as the body of a forked process, on the loop that the settings choose."""

    def body(birth: Birth) -> None:
        sys.exit(run_loop(live(birth, lambda life: main(birth, life)), loop=birth.settings.server.loop))

    return body


def prepare(settings: Settings) -> None:
    """Make the directories and check that they can be used.

    Raises:
        ConfigError: One cannot; says which and why.
    """
    server = settings.server
    longest = server.sockets_directory / LONGEST_SOCKET
    if len(os.fsencode(longest)) > SOCKET_PATH_OCTETS_MAX:
        raise ConfigError(
            f"server.run_directory: {longest} is longer than the {SOCKET_PATH_OCTETS_MAX} octets of a "
            "Unix socket's path; give server.run_directory a shorter one"
        )
    for option, path in (
        ("server.state_directory", server.state_directory),
        ("server.run_directory", server.sockets_directory),
        ("server.state_directory", server.events_directory),
    ):
        try:
            path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{option}: {path} cannot be made: {error.strerror}") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise ConfigError(f"{option}: {path} cannot be written by this user")
    SpoolDirectory(files_of(os.environ), str(server.spool_directory)).open()


def lock_spool(directory: Path, log: Log) -> int:
    """Take the lock of the spool; waits for an earlier server to end. Children inherit it."""
    descriptor = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _take_lock(descriptor, directory, log)
    return descriptor


def lock_directory(directory: Path, log: Log) -> int:
    """Lock a directory itself, which nobody removes as a left-over while a server works in it.

    The lock file may be gone while its server lives; and two servers with one run directory, however far
    apart their spools are, would talk to each other's processes.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _take_lock(descriptor, directory, log)
    except OSError as error:  # flock(2): some network file systems lock only what is open for writing
        log.warning("server.directory_not_locked", directory=str(directory), error=error.strerror)
    return descriptor


def _take_lock(descriptor: int, directory: Path, log: Log) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("server.waits_for_lock", directory=str(directory), advice=LOCK_ADVICE)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def endpoints(sockets: Mapping[str, socket.socket]) -> dict[str, str]:
    """The addresses that listeners really have, by name; ports that were 0 are known now."""
    return {name: endpoint(*opened.getsockname()[:2]) for name, opened in sockets.items()}


def run(
    settings: Settings,
    on_ready: Callable[[dict[str, str]], None],
    clock: Clock | None = None,
    *,
    input_fd: int | None = None,
    read: Callable[[], Configuration] | None = None,
) -> int:
    """Run a node until it is told to stop.

    Args:
        settings: Validated.
        on_ready: Called once every process works, with the listeners' endpoints.
        clock: Time; the default is the machine's.
        input_fd: Stop when this descriptor reads end-of-file, as its starter is gone; None is never.
        read: Reads the configuration again, for a reload; None where there is none.

    Raises:
        ConfigError: The surroundings do not allow it.
    """
    clock = clock or SystemClock()
    prepare(settings)
    check_scripts(settings)
    check_certificates(settings)
    keys, made = prepare_keys(settings, os.environ, files_of(os.environ), clock)
    log = open_log(settings.record, clock, tokens=keys.tokens)
    if made is not None:
        log.info("privacy.key_made", key=made.name, fingerprint=made.fingerprint, file=made.source)
    raise_descriptors(log)
    if settings.server.scheduling == "batch":
        take_batch(log)
    notifier = Notifier.from_environment(os.environ, clock)
    activated = activated_sockets(os.environ, {listener.name for listener in settings.listeners})
    locks = [lock_spool(settings.server.state_directory, log)]
    directories = {settings.server.state_directory.resolve(), settings.server.sockets_directory.resolve()}
    locks += (lock_directory(path, log) for path in sorted(directories))
    create_cells(settings.shared_numbers_file, settings.policy.shared_numbers).close()
    begin_shared(settings.server.sockets_directory)
    doors = Doors(settings, activated)
    if os.environ.get(VARIABLE):
        log.warning("server.injected_faults", faults=os.environ[VARIABLE])

    def tell_ready() -> None:
        listening = ", ".join(f"{name} on {place}" for name, place in endpoints(doors.sockets[0]).items())
        notifier.ready(f"Ready: {settings.server.workers} workers; {listening}")

    def ready() -> None:
        tell_ready()
        on_ready(endpoints(doors.sockets[0]))

    supervisor = Supervisor(settings, clock, log, ready, input_fd, notifier)
    supervisor.add("control", _main_of(run_control), metrics_sockets(settings.record))
    supervisor.add("dispatcher", _main_of(run_dispatcher), doors.sockets[0])
    worker = _main_of(partial(run_worker, counts=doors.counts, prepare=prepare_worker))
    for number in range(settings.server.workers):
        supervisor.add(f"worker-{number}", worker, doors.sockets[number], number)
    if read is not None:
        supervisor.reloads = Reloads(
            settings,
            read,
            doors,
            supervisor.children,
            clock,
            log,
            partial(_adopt, supervisor),
            tell_ready,
        )
    try:
        return supervisor.run()
    finally:
        # the locks last: who waits for them listens at the same places next
        for child in supervisor.children:
            for listening in child.sockets.values():
                listening.close()
        for lock in locks:
            os.close(lock)


def _adopt(supervisor: Supervisor, settings: Settings) -> None:
    """What the supervisor itself and whoever it starts from now on take from other settings."""
    supervisor.settings = settings
    set_level(supervisor.log, settings.record.log_level)
    set_rotation(supervisor.log, settings.record)
