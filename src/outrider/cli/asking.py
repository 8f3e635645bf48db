"""How commands that stop, move or remove something ask first: for a yes, and for the reason.

What is asked goes to standard error, so that the answer of a command alone is on standard output.
"""

import sys
from collections.abc import Callable
from typing import Annotated, Any

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


def counted_first(
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    count: Callable[[dict[str, Any]], int],
    *,
    question: str,
    warning: str,
    deed: str,
    reason: str,
    yes: bool,
    dry_run: bool,
    has_count: bool = True,
) -> dict[str, Any]:
    """Count what would be changed, have somebody say yes and why, do it; the server's last answer.

    Args:
        ask: Asks the server with more fields in the body.
        count: How much an answer is about.
        question: For the terminal; `{}` is the count.
        warning: For whoever is not at one.
        deed: What needs a reason; empty when it needs none.
        reason: As it was given.
        yes: Nobody needs to be asked.
        dry_run: Count only.
        has_count: The server takes the count that was shown as `expect`, and nothing is done where it is 0.

    Raises:
        typer.Abort: The answer is no.
        typer.BadParameter: Nobody is there to ask.
    """
    answer = ask({"dry_run": True})
    found = count(answer)
    if dry_run or (has_count and not found):
        return answer
    ask_first(question.format(found), warning.format(found), yes=yes)
    body: dict[str, Any] = {"reason": reason_for(deed, reason) if deed else reason}
    if has_count and not yes:
        body["expect"] = found  # whoever was shown a count said yes to that one
    return ask(body)
