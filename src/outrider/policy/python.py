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

In: a file. Out: its hooks, checked against their declarations. Functions may be `async`; names that begin
with an underscore are the script's own.

Invariant: a file that cannot be loaded, a hook of another signature and a name that is almost a hook's are
faults with file and line.
"""

import difflib
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from types import CodeType, ModuleType, coroutine
from typing import Any

from outrider.base.errors import UnavailableError
from outrider.model.hooks import HookPhase
from outrider.policy.answers import Answer, Go, Refuse
from outrider.policy.budget import CpuBudget, SpentError
from outrider.policy.connection import Connection
from outrider.policy.declare import HOOKS
from outrider.policy.errors import BudgetError, HookError, ScriptError, TooSlowError

Function = Callable[..., Any]


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
                budget.end()
        except SpentError as error:
            budget.end()
            raise self._spent(phase, error) from None
        except Exception as error:
            raise self._failed(phase, error) from error
        if answer is None or type(answer) is Go or type(answer) is Refuse:
            return answer
        raise self._odd(phase, answer)

    async def _await(self, phase: HookPhase, function: Function, arguments: tuple[Any, ...]) -> Answer:
        try:
            answer = await _metered(function(*arguments), self._budget)
        except SpentError as error:
            self._budget.end()
            raise self._spent(phase, error) from None
        except Exception as error:
            raise self._failed(phase, error) from error
        if answer is None or isinstance(answer, Go | Refuse):
            return answer
        raise self._odd(phase, answer)

    def _odd(self, phase: HookPhase, answer: object) -> HookError:
        code: CodeType = self._functions[phase].__code__
        return ScriptError(
            f"a hook gives nothing, CONTINUE, DONE or Refuse, not {type(answer).__name__}",
            script=self.name,
            line=code.co_firstlineno,
            phase=phase,
        )

    def _spent(self, phase: HookPhase, error: BaseException) -> HookError:
        reason = "it used up its processor time"
        return BudgetError(reason, script=self.name, line=self._line(error), phase=phase)

    def _failed(self, phase: HookPhase, error: Exception) -> HookError:
        line = self._line(error)
        if isinstance(error, HookError):
            return type(error)(error.reason, script=self.name, line=line, phase=phase)
        if isinstance(error, UnavailableError):
            return TooSlowError(error.message, script=self.name, line=line, phase=phase)
        return ScriptError(f"{type(error).__name__}: {error}", script=self.name, line=line, phase=phase)

    def _line(self, error: BaseException) -> int:
        frames = traceback.extract_tb(error.__traceback__)
        return next((each.lineno or 0 for each in reversed(frames) if each.filename == self._path), 0)


@coroutine
def _metered(work: Any, budget: CpuBudget) -> Generator[Any, Any, Any]:
    """What a coroutine gives; only its own steps count, not its waits."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            budget.begin()
            try:
                waited = work.send(value) if error is None else work.throw(error)
            finally:
                budget.end()
        except StopIteration as stop:
            return stop.value
        value = error = None
        try:
            value = yield waited
        except BaseException as raised:
            error = raised


def load(name: str, path: Path, budget: CpuBudget) -> PythonScript:
    """Compile, run and check a module.

    Raises:
        ScriptError: What is wrong, with its line.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"cannot be read: {error}", script=str(path), phase="load") from error
    module = ModuleType(f"outrider_policy_{name}")
    module.__file__ = str(path)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - a policy is a program
    except SyntaxError as error:
        line = error.lineno or 0
        raise ScriptError(error.msg, script=str(path), line=line, phase="load") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((each.lineno or 0 for each in reversed(frames) if each.filename == str(path)), 0)
        reason = f"{type(error).__name__}: {error}"
        raise ScriptError(reason, script=str(path), line=line, phase="load") from error
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    return PythonScript(name, path, _hooks_of(module, path), budget)


def _hooks_of(module: ModuleType, path: Path) -> dict[HookPhase, Function]:
    found: dict[HookPhase, Function] = {}
    for name, value in vars(module).items():
        if not inspect.isfunction(value) or value.__code__.co_filename != str(path) or name[0] == "_":
            continue
        line = value.__code__.co_firstlineno
        if name in {*HookPhase}:
            phase = HookPhase(name)
            _check_signature(phase, value, path)
            found[phase] = value
            continue
        almost = difflib.get_close_matches(name, [*HookPhase], 1, 0.85)
        if almost:
            reason = f"{name} is no hook; {almost[0]} is. Begin it with _ if it is the script's own"
            raise ScriptError(reason, script=str(path), line=line, phase="load")
    if not found:
        names = ", ".join(HookPhase)
        raise ScriptError(f"has no hook; hooks are {names}", script=str(path), phase="load")
    return found


def _check_signature(phase: HookPhase, function: Function, path: Path) -> None:
    arguments = HOOKS[phase].arguments
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        wanted = f"{phase}({', '.join(argument.name for argument in arguments)})"
        line = function.__code__.co_firstlineno
        reason = f"a hook of this phase is called as {wanted}"
        raise ScriptError(reason, script=str(path), line=line, phase="load") from None
