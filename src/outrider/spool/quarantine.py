"""A checkpoint that cannot be used is put aside whole, for somebody to look at; the logs make another."""

from outrider.base.clock import Clock
from outrider.base.errors import SpoolError
from outrider.spool.directory import SpoolDirectory


def put_aside(spool: SpoolDirectory, clock: Clock) -> list[str]:
    """Move the checkpoint's files into quarantine."""
    kept = []
    path = spool.checkpoint_path()
    for suffix in ("", "-wal", "-shm"):
        target = f"{spool.path}/quarantine/checkpoint-{int(clock.wall())}.sqlite{suffix}"
        try:
            spool.files.rename(path + suffix, target)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SpoolError(f"damaged checkpoint {path} cannot be put aside: {error}", path=path) from error
        kept.append(target)
    return kept
