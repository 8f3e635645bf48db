"""`make kill ROUNDS=n`: kill processes at random under load, and account for every message.

In: `--rounds`, `--seed`. Out: a line for each round, each duplicate with its reason, each thing without
one, and last the account. Exit code 1 says that something is lost or unexplained.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.crash.kill_account import Account
from tests.crash.kill_round import KillError, Siege

CALM_SECONDS = 2.5
# chosen: longer than a checkpoint and a retry, so that kills fall on every state


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def siege(folder: Path, rounds: int, seed: int, calm_seconds: float = CALM_SECONDS) -> Account:
    """A run of `rounds` in `folder`.

    Raises:
        KillError: The server did not come back, or did not drain.
    """
    async with Siege(folder, seed=seed, calm_seconds=calm_seconds, say=_say) as running:
        return await running.run(rounds)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep everything here instead of in a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outrider-kill-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            account = asyncio.run(siege(folder, arguments.rounds, arguments.seed))
        except KillError as error:
            _say(f"failed: {error}")
            return 1
    for reason in account.reasons:
        _say(f"duplicate: {reason}")
    for number, recipient in account.lost:
        _say(f"LOST: {number} to {recipient}")
    for line in account.unexplained:
        _say(f"UNEXPLAINED: {line}")
    _say(account.line())
    return 0 if account.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
