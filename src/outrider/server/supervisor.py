"""The supervisor: holds the sockets, starts the processes, and starts again those that die.

It has no event loop and no threads, so that forking is safe: children share the memory of everything imported
before. It opens one SO_REUSEPORT socket for each worker and listener and keeps it, so that a worker's
restart loses no connection that waits in the backlog.

Theory: each child holds the read end of a pipe whose write end only the supervisor has. However the
supervisor dies, the pipe closes and the children go. All processes inherit the lock on the spool; a new
server waits for it, so two servers never work on one spool.

Invariant: a child that dies is started again, after a pause that grows while it keeps dying; a
configuration error (exit 78) before the server was ready ends the whole server instead. Later one, such as
of a certificate that was taken away, ends nobody but its child, because what works is to go on.
"""

import gc
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

from outrider.base.clock import Clock
from outrider.base.errors import ConfigError
from outrider.base.exits import Exit
from outrider.base.log import Log
from outrider.record.log import LogKeeper
from outrider.server.channel import Channel, channel_pair
from outrider.server.lifecycle import BEAT, READY, Birth
from outrider.server.notify import Notifier
from outrider.server.reload import Reloads
from outrider.server.settings import Settings

RESTART_PAUSE_SECONDS = 0.1
RESTART_PAUSE_MAX_SECONDS = 5.0
# chosen: a single death costs clients next to nothing, a fault that stays costs a start each five seconds
HEALTHY_SECONDS = 10.0
# chosen, because a process that lived this long did not die of its start
TICK_SECONDS = 0.25
TEND_SECONDS = 1.0
# chosen, as for event files: how late a file of the log may be closed
STOP_MARGIN_SECONDS = 20.0
# chosen: to kill what did not drain and to write the checkpoint
TRACE_FRAMES = 12
# chosen: what a person reads; the innermost say the most
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Child:
    """One process that the supervisor keeps alive."""

    name: str
    number: int
    main: Callable[[Birth], None]
    sockets: Mapping[str, socket.socket]
    pid: int = 0
    status: int = -1
    ready: bool = False
    started_at: float = 0.0
    beat_at: float = 0.0
    heard_at: float = 0.0
    pause_seconds: float = RESTART_PAUSE_SECONDS
    start_at: float = 0.0
    restarts: int = 0
    channel: Channel | None = None


@dataclass(slots=True)
class Supervisor:
    """See the module.

    Args:
        settings: Validated configuration.
        clock: Time.
        log: Server log.
        on_ready: Called once, when every child has said that it is ready.
        input_fd: Stop when this descriptor reads end-of-file; None is never.
        notifier: Tells the service manager, where there is one.
        reloads: Reads the configuration again at SIGHUP or when a child asks; None ignores both.
    """

    settings: Settings
    clock: Clock
    log: Log
    on_ready: Callable[[], None]
    input_fd: int | None = None
    notifier: Notifier | None = None
    reloads: Reloads | None = None
    children: list[Child] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _parent_pipe: tuple[int, int] = field(default_factory=os.pipe)
    _stop_asked: bool = False
    _reload_asked: bool = False
    _stopping: bool = False
    _told_ready: bool = False
    _exit_code: int = 0
    _stop_at: float = 0.0
    _tend_at: float = 0.0
    _since_at: float = 0.0

    def add(
        self, name: str, main: Callable[[Birth], None], sockets: Mapping[str, socket.socket], number: int = 0
    ) -> None:
        """Have a child; started by `run`, in the order of adding, stopped in reverse."""
        self.children.append(Child(name, number, main, sockets))

    def run(self) -> int:
        """Supervise until told to stop; returns the exit code."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.signal(signal.SIGHUP, self._ask_to_reload)
        self._selector.register(wake_read, selectors.EVENT_READ, wake_read)
        if self.input_fd is not None:
            self._selector.register(self.input_fd, selectors.EVENT_READ, self.input_fd)
        self._since_at = self.clock.now()
        keeper = LogKeeper(self.log, is_owner=True)
        gc.collect()
        gc.freeze()
        while not self._is_over():
            self._start_due()
            for key, _ in self._selector.select(TICK_SECONDS):
                if isinstance(key.data, Child):
                    if key.fd == key.data.status:
                        self._hear(key.data)
                    else:
                        self._hear_channel(key.data)
                elif not os.read(key.data, 4096):
                    self._selector.unregister(key.data)
                    self._stop_asked = True
            self._reap()
            if self._stop_asked:
                self._stop()
            if self._reload_asked or self.clock.now() >= self._tend_at:
                self._tend_at = self.clock.now() + TEND_SECONDS
                keeper.tend()
            self._reload()
            self._watch()
        return self._exit_code

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: no more than a note, as it may come in the middle of a fork."""
        self._stop_asked = True

    def _ask_to_reload(self, _number: int, _frame: FrameType | None) -> None:
        """As above."""
        self._reload_asked = True

    def _reload(self) -> None:
        if self.reloads is None or self._stopping:
            return
        if self._reload_asked:
            self._reload_asked = False
            if self.notifier is not None:
                self.notifier.reloading()
            self.reloads.ask()
        self.reloads.tick()

    def _hear_channel(self, child: Child) -> None:
        channel = child.channel
        try:
            while channel is not None and (message := channel.receive()) is not None:
                if self.reloads is not None:
                    self.reloads.hear(child, message)
        except EOFError:
            self._forget_channel(child)

    def _forget_channel(self, child: Child) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _is_over(self) -> bool:
        return self._stopping and not any(child.pid for child in self.children)

    def _start_due(self) -> None:
        if self._stopping or (self.reloads is not None and self.reloads.is_pending):
            return
        now = self.clock.now()
        for child in self.children:
            if not child.pid and child.start_at <= now:
                self._fork(child)

    def _fork(self, child: Child) -> None:
        status_read, status_write = os.pipe()
        own_end, its_end = channel_pair()
        os.set_blocking(status_read, False)
        os.set_blocking(status_write, False)
        now = self.clock.now()
        # a signal between the fork and the child's own handlers would be heard by nobody
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if pid == 0:
            own_end.close()
            self._become(child, status_read, status_write, its_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.close(status_write)
        its_end.close()
        child.channel = own_end
        self._selector.register(own_end, selectors.EVENT_READ, child)
        child.pid, child.status, child.ready = pid, status_read, False
        child.started_at = child.beat_at = child.heard_at = now
        self._selector.register(status_read, selectors.EVENT_READ, child)
        self.log.info("process.started", name=child.name, pid=pid)

    def _become(self, child: Child, status_read: int, status_write: int, its_end: Channel) -> None:
        """In the child: drop what is the supervisor's and run; never returns."""
        code: int = Exit.SOFTWARE
        try:
            signal.set_wakeup_fd(-1)
            for number in (*STOP_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
            os.close(self._parent_pipe[1])
            os.close(status_read)
            for other in self.children:
                if other.pid:
                    os.close(other.status)
                if other.channel is not None:
                    other.channel.close()
            self._selector.close()
            self._close_doors_of_others(child)
            child.main(
                Birth(
                    child.name,
                    child.number,
                    self.settings,
                    child.sockets,
                    self._parent_pipe[0],
                    status_write,
                    self.clock,
                    self.log.bind(process=child.name),
                    is_restart=child.restarts > 0,
                    channel=its_end,
                    up_since_at=self._since_at,
                )
            )
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else Exit.SOFTWARE
        except BaseException as error:
            if (fault := fault_of(error)) is not None:
                self.log.error("process.misconfigured", name=child.name, error=str(fault))
                code = Exit.CONFIG
            else:
                self.log.error("process.failed", name=child.name, error=told(error), trace=trace_of(error))
        finally:
            os._exit(code)

    def _close_doors_of_others(self, child: Child) -> None:
        """In the child: else a listener that a reload removes would let clients in whom nobody hears."""
        own = set(child.sockets.values())
        for other in self.children:
            for listening in other.sockets.values():
                if listening not in own:
                    listening.close()

    def _hear(self, child: Child) -> None:
        try:
            said = os.read(child.status, 4096)
        except BlockingIOError:
            return
        if not said:
            self._selector.unregister(child.status)
            return
        if BEAT in said:
            child.beat_at = child.heard_at = self.clock.now()
        if READY in said:
            child.ready = True
            if not self._told_ready and all(each.ready for each in self.children):
                self._told_ready = True
                self.on_ready()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self.children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        now = self.clock.now()
        if child.status in self._selector.get_map():
            self._selector.unregister(child.status)
        os.close(child.status)
        self._forget_channel(child)
        child.pid, child.status, child.ready = 0, -1, False
        if code == Exit.CONFIG and not self._told_ready:
            self._exit_code = code
            self._stop()
        if self.reloads is not None:
            self.reloads.died(child)
        if self._stopping:
            self.log.info("process.ended", name=child.name, code=code)
            self._tell_next()
            return
        healthy = now - child.started_at > HEALTHY_SECONDS
        child.pause_seconds = (
            RESTART_PAUSE_SECONDS if healthy else min(child.pause_seconds * 2, RESTART_PAUSE_MAX_SECONDS)
        )
        child.start_at = now + child.pause_seconds
        child.restarts += 1
        self.log.error(
            "process.died",
            name=child.name,
            code=code,
            restarts=child.restarts,
            pause_seconds=child.pause_seconds,
        )

    def _tell_manager(self, now: float, patience_seconds: float) -> None:
        """A sign of life while no child is stuck beyond help, and which processes do not work."""
        notifier = self.notifier
        if notifier is None:
            return
        silences = [now - child.heard_at for child in self.children if child.pid]
        missing = [child.name for child in self.children if not child.ready]
        if not self._told_ready and not self._stopping:
            notifier.starting(missing, silences, patience_seconds)
            return
        notifier.sign_of_life(silences, 2 * patience_seconds)
        if not self._stopping:
            notifier.missing(missing)

    def _watch(self) -> None:
        now = self.clock.now()
        patience = self.settings.server.watchdog_seconds
        self._tell_manager(now, patience)
        for child in self.children:
            if child.pid and now - child.beat_at > patience:
                self.log.error(
                    "process.stuck", name=child.name, pid=child.pid, silent_seconds=now - child.beat_at
                )
                os.kill(child.pid, signal.SIGKILL)
                child.beat_at = now
        if self._stopping and now > self._stop_at:
            for child in self.children:
                if child.pid:
                    self.log.error("process.killed", name=child.name, pid=child.pid)
                    os.kill(child.pid, signal.SIGKILL)
            self._stop_at = now + patience

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._stop_at = self.clock.now() + self.settings.server.drain_seconds + 10
        if self.notifier is not None:
            self.notifier.stopping(self.settings.server.drain_seconds + STOP_MARGIN_SECONDS)
        self._tell_next()

    def _tell_next(self) -> None:
        """Stop workers first, whose results the dispatcher hears; then the others, last added first."""
        living = [child for child in self.children if child.pid]
        workers = [child for child in living if child.name.startswith("worker")]
        for child in workers or living[-1:]:
            os.kill(child.pid, signal.SIGTERM)


def fault_of(error: BaseException) -> ConfigError | None:
    """What is wrong in the configuration if that is why it failed, however deep in task groups; else None."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(fault_of, error.exceptions)), None)
    return error if isinstance(error, ConfigError) else None


def told(error: BaseException) -> str:
    """What went wrong, in a line; of a group each one's own error."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(told, error.exceptions))
    return f"{type(error).__name__}: {error}"


def trace_of(error: BaseException) -> list[str]:
    """Where it went wrong: the innermost places, as the log has room for a line of text each."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)[-TRACE_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
