"""Scripts in Python: a module whose functions are named after the phases.

    from outrider.policy.api import Refuse, source

    def mailfrom(connection, sender):
        if sender.endswith("@old.example"):
            return Refuse(550, "5.7.1 This sender has moved")

    async def set_binding(mail):
        for customer in mail.header("X-Customer"):
            rows = await source("crm").fetch("SELECT binding FROM customer WHERE id = ?", (customer,))
            if rows:
                mail.try_binding(str(rows[0]["binding"]))

In: a file. Out: its hooks, checked against their declarations: whatever can be called and has a phase's name,
decorated or imported too. Functions may be `async`; names that begin with an underscore are the script's own.

Invariant: a file that cannot be loaded, whose top level does not end in time, a hook of another signature and
a name that is almost a hook's are faults with file and line.
"""

import asyncio
import difflib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from outrider.base.errors import UnavailableError
from outrider.model.hooks import HookPhase
from outrider.policy.alarm import Alarm, LateError
from outrider.policy.answers import Answer, Go, Refuse
from outrider.policy.budget import CpuBudget, SpentError
from outrider.policy.connection import Connection
from outrider.policy.declare import HOOKS
from outrider.policy.errors import BudgetError, HookError, ScriptError, TooSlowError
from outrider.policy.metering import metered

Function = Callable[..., Any]

LOAD_SECONDS = 5.0
# chosen: a hundred times what imports take, as for scripts in Lua, and below a reload's patience


class PythonScript:
    """One module. It keeps nothing for a session, so it is its own `ScriptSession`.

    Args:
        name: Its name in the configuration.
        path: Its file.
        functions: For each phase its function.
        budget: Processor time.
    """

    def __init__(
        self, name: str, path: Path, functions: dict[HookPhase, Function], budget: CpuBudget
    ) -> None:
        self.name = name
        self.phases = frozenset(functions)
        self._path = str(path)
        self._functions = functions
        self._waits = {phase: inspect.iscoroutinefunction(each) for phase, each in functions.items()}
        self._budget = budget

    def open(self, connection: Connection) -> "PythonScript":  # noqa: ARG002 - the port's shape
        return self

    def close(self) -> None:
        """Nothing is kept."""

    def line_of(self, phase: HookPhase) -> int:
        """Where the hook of a phase begins; 0 where that is not known."""
        return _line_of(self._functions[phase])

    def waited_at(self, phase: HookPhase, error: BaseException) -> int:
        """See `script.Placed`; where a hook caught its end, the line where it begins."""
        return self._line(error) or self.line_of(phase)

    def call(self, phase: HookPhase, *arguments: Any) -> Answer | Awaitable[Answer]:
        function = self._functions[phase]
        if self._waits[phase]:
            return self._await(phase, function, arguments)
        budget = self._budget
        try:
            budget.begin()
            try:
                answer = function(*arguments)
            finally:
                budget.is_running = False
        except SpentError as error:
            raise self._spent(phase, error) from None
        except BaseException as error:  # SystemExit and the like are the script's own too: nothing waits here
            raise self._failed(phase, error) from error
        if answer is None or type(answer) is Go or type(answer) is Refuse:
            return answer
        if inspect.iscoroutine(answer):  # as of a decorator's function around one that is `async`
            return self._await(phase, lambda: answer, ())
        raise self._odd(phase, answer)

    async def _await(self, phase: HookPhase, function: Function, arguments: tuple[Any, ...]) -> Answer:
        try:
            answer = await metered(function(*arguments), self._budget)
        except SpentError as error:
            raise self._spent(phase, error) from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._failed(phase, error) from error  # nobody wanted that but the script
        except GeneratorExit:
            raise
        except BaseException as error:
            raise self._failed(phase, error) from error
        if answer is None or isinstance(answer, Go | Refuse):
            return answer
        raise self._odd(phase, answer)

    def _odd(self, phase: HookPhase, answer: object) -> HookError:
        reason = f"a hook gives nothing, CONTINUE, DONE or Refuse, not {type(answer).__name__}"
        return ScriptError(reason, script=self.name, line=self.line_of(phase), phase=phase)

    def _spent(self, phase: HookPhase, error: BaseException) -> HookError:
        is_memory = self._budget.is_memory
        reason = "it used too much memory" if is_memory else "it used up its processor time"
        return BudgetError(reason, script=self.name, line=self._line(error), phase=phase)

    def _failed(self, phase: HookPhase, error: BaseException) -> HookError:
        line = self._line(error)
        if isinstance(error, HookError):
            return type(error)(error.reason, script=self.name, line=line, phase=phase)
        if isinstance(error, UnavailableError):
            return TooSlowError(error.message, script=self.name, line=line, phase=phase)
        return ScriptError(f"{type(error).__name__}: {error}", script=self.name, line=line, phase=phase)

    def _line(self, error: BaseException) -> int:
        return _line_in(error, self._path)


def _line_in(error: BaseException, path: str) -> int:
    """The innermost line of a file that an error came through; 0 for none."""
    found = 0
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == path:
            found = line
    return found


def _line_of(function: Function) -> int:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if isinstance(code, CodeType) else 0


def load(name: str, path: Path, budget: CpuBudget) -> PythonScript:
    """Compile, run and check a module.

    Raises:
        ScriptError: What is wrong, with its line; also where the top level does not end in `LOAD_SECONDS`.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"cannot be read: {error}", script=str(path), phase="load") from error
    module = ModuleType(f"outrider_policy_{name}")
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    try:
        _run(compile(source, str(path), "exec"), module)
        hooks = _hooks_of(module, path)
    except BaseException as error:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
        if isinstance(error, HookError | KeyboardInterrupt):
            raise
        raise _not_loaded(error, str(path)) from error
    return PythonScript(name, path, hooks, budget)


def _run(code: CodeType, module: ModuleType) -> None:
    """Run a module's top level. Raises LateError, and whatever it raises."""
    alarm = Alarm(LOAD_SECONDS)
    try:
        alarm.start()
        try:
            exec(code, module.__dict__)  # noqa: S102 - a policy is a program
        finally:
            alarm.is_running = False
    finally:
        alarm.stop()


def _not_loaded(error: BaseException, path: str) -> ScriptError:
    if isinstance(error, LateError):
        reason = f"its top level did not end within {LOAD_SECONDS:g} s; what takes long belongs into a hook"
        return ScriptError(reason, script=path, line=_line_in(error, path), phase="load")
    if isinstance(error, SyntaxError) and error.filename in {path, None}:
        return ScriptError(error.msg, script=path, line=error.lineno or 0, phase="load")
    reason = f"{type(error).__name__}: {error}"
    return ScriptError(reason, script=path, line=_line_in(error, path), phase="load")


def _hooks_of(module: ModuleType, path: Path) -> dict[HookPhase, Function]:
    found: dict[HookPhase, Function] = {}
    for name, value in vars(module).items():
        if name in {*HookPhase}:
            if callable(value) and not isinstance(value, type):  # else it is a name of the script's own
                phase = HookPhase(name)
                _check_signature(phase, value, path)
                found[phase] = value
            continue
        if not inspect.isfunction(value) or value.__code__.co_filename != str(path) or name[0] == "_":
            continue
        almost = difflib.get_close_matches(name, [*HookPhase], 1, 0.85)
        if almost:
            reason = f"{name} is no hook; {almost[0]} is. Begin it with _ if it is the script's own"
            line = value.__code__.co_firstlineno
            raise ScriptError(reason, script=str(path), line=line, phase="load")
    if not found:
        names = ", ".join(HookPhase)
        raise ScriptError(f"has no hook; hooks are {names}", script=str(path), phase="load")
    return found


def _check_signature(phase: HookPhase, function: Function, path: Path) -> None:
    arguments = HOOKS[phase].arguments
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):  # the latter of what is built in, whose signature cannot be told
        wanted = f"{phase}({', '.join(argument.name for argument in arguments)})"
        line = _line_of(function)
        reason = f"a hook of this phase is called as {wanted}"
        raise ScriptError(reason, script=str(path), line=line, phase="load") from None
