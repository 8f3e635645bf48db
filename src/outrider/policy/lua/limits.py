"""What scripts in Lua may use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LuaLimits:
    """Budgets of one call, and of the state that all scripts of a process share.

    Attributes:
        instructions: Of LuaJIT's interpreter, for a call with all its waits. Counted in thousands.
        seconds: Processor time between two waits. Looked at every thousand instructions and by functions that
            may take long, so a call is stopped some milliseconds later.
        growth_octets: How much more memory there may be at the end of a step than at its start.
        memory_octets: Of the state.
        load_instructions: For a script's top level, and for `init`. Their growth is limited by the state's
            memory alone.
        load_seconds: Processor time for a script's top level, and for `init`.
    """

    instructions: int = 10_000_000
    # chosen: some 40 ms of the interpreter
    seconds: float = 0.1
    # chosen: a thousand times what a hook needs
    growth_octets: int = 16 << 20
    # chosen: some copies of a large message
    memory_octets: int = 64 << 20
    # chosen: tables of some hundred thousand rows
    load_instructions: int = 1_000_000_000
    # chosen: a hundred times a call's
    load_seconds: float = 5.0
    # chosen: scripts that build their tables when they are loaded
