"""How commands that stop, move or remove something ask first: for a yes, and for the reason.

What is asked goes to standard error, so that the answer of a command alone is on standard output.
"""

import sys
from typing import Annotated

import typer

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def ask_first(question: str, warning: str, *, yes: bool) -> None:
    """Have somebody at the terminal say yes; without one, refuse with `warning` and what to do.

    Raises:
        typer.Abort: The answer is no.
        typer.BadParameter: Nobody is there to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{warning}; say --yes to do it, or --dry-run to see it first")
    typer.confirm(question, abort=True, err=True)


def reason_for(deed: str, reason: str) -> str:
    """`reason`, or what somebody at the terminal says.

    Raises:
        typer.BadParameter: There is none, and nobody is there to ask.
    """
    if reason:
        return reason
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{deed} needs a --reason, which the audit log keeps")
    return str(typer.prompt(f"Why? ({deed})", err=True))
