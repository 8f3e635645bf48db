"""What the process gives to its scripts: data sources, and a place for signing keys that they bring.

A worker sets it once, before its scripts are loaded; everywhere else, as in `check-config`, there is none,
and whoever asks for one hears so.
"""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from outrider.base.clock import SystemClock
from outrider.base.errors import UnavailableError
from outrider.model.flow import Origin
from outrider.model.ports import PolicySession
from outrider.policy.name_locks import NameLocks
from outrider.policy.shared import SharedCells
from outrider.policy.shared_values import SharedValues, begin_values
from outrider.policy.way_out_sightings import Outward
from outrider.store.sources.source import Source

LOCKS_FILE: Final = "policy.locks"
VALUES_FOLDER: Final = "policy.values"
# in the run directory: neither is of use after a restart


class Sources(Protocol):
    """Data sources by name."""

    def find(self, name: str) -> Source:
        """The source of that name.

        Raises:
            SourceQueryError: There is none; says which there are.
        """
        ...


class SigningKeys(Protocol):
    """Keeps signing keys."""

    def keep(self, text: str) -> str:
        """A name for a key that is given as a text; it may still have to be written.

        Raises:
            ConfigError: It is no key that can sign.
        """
        ...

    def unwritten(self, names: Iterable[str]) -> Awaitable[None] | None:
        """What to wait for until all of these keys are written; None where nothing has to be.

        Awaiting raises ConfigError: One of them cannot be written.
        """
        ...


class Tap(Protocol):
    """Listens to what live scripts are asked, now and then."""

    @property
    def is_on(self) -> bool:
        """Somebody listens."""
        ...

    def session(self, session: PolicySession, origin: Origin) -> PolicySession:
        """The same session, and what it is asked is told."""
        ...

    def outward(self, told: Outward) -> None:
        """Scripts were asked on the way out."""
        ...


class Surroundings:
    """See the module.

    Attributes:
        sources: Data sources of the configuration, or None.
        keys: Where keys are kept, or None.
        tap: Who listens to live scripts, or None.
        cells: Attaches the numbers that all workers share, or None.
        names: Locks by name, of all workers or of this process alone.
        values: What scripts share, likewise.
        wall: Unix seconds.
    """

    def __init__(self) -> None:
        self.sources: Sources | None = None
        self.keys: SigningKeys | None = None
        self.tap: Tap | None = None
        self.cells: Callable[[], SharedCells] | None = None
        self.wall: Callable[[], float] = SystemClock().wall
        self.names = NameLocks()
        self.values = SharedValues()
        self._attached: SharedCells | None = None

    def shared_numbers(self) -> SharedCells:
        """See the function. Raises UnavailableError, StoreError."""
        if self._attached is None:
            if self.cells is None:
                raise UnavailableError("nothing is counted here; a running server does")
            self._attached = self.cells()
        return self._attached

    def take_cells(self, cells: Callable[[], SharedCells] | None) -> None:
        """Other numbers from now on; those of before are closed."""
        if self._attached is not None:
            self._attached.close()
        self._attached = None
        self.cells = cells

    def take_shared(self, folder: Path | None) -> None:
        """Locks and values of all workers, which lie in a folder; None for those of this process alone.

        Raises:
            StoreError: They cannot be used.
        """
        self.names.close()
        self.names = NameLocks(None if folder is None else folder / LOCKS_FILE)
        self.values = SharedValues(None if folder is None else folder / VALUES_FOLDER)


HERE = Surroundings()
"""Of this process."""


def begin_shared(folder: Path) -> None:
    """A server starts: nothing is shared yet. Raises StoreError."""
    begin_values(folder / VALUES_FOLDER)


def shared_numbers() -> SharedCells:
    """The numbers that all workers share.

    Raises:
        UnavailableError: This process has none.
        StoreError: They cannot be used.
    """
    return HERE.shared_numbers()


def source(name: str) -> Source:
    """A data source of the configuration.

    Raises:
        SourceQueryError: There is none of that name.
        UnavailableError: This process has none.
    """
    if HERE.sources is None:
        raise UnavailableError("there are no data sources here; a running server has them")
    return HERE.sources.find(name)


def keep_key(text: str) -> str:
    """A name, for `SignRequest`, of a private key that a script has as a text, as from a database.

    It is known at once; a key that is new is being written meanwhile, and a message that names it is not
    taken before it is.

    Raises:
        ConfigError: It is no key that can sign.
        UnavailableError: This process keeps none.
    """
    if HERE.keys is None:
        raise UnavailableError("no signing keys are kept here; a running server does")
    return HERE.keys.keep(text)
