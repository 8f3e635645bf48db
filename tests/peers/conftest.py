"""Fixtures: one real peer each, started and stopped for a test; skipped with the reason when absent."""

from collections.abc import Iterator

import pytest

from tests.peers import exim as exim_peer
from tests.peers import postfix as postfix_peer
from tests.peers.exim import Exim
from tests.peers.postfix import Postfix


@pytest.fixture
def postfix() -> Iterator[Postfix]:
    """A Postfix that takes mail for example.test."""
    if reason := postfix_peer.missing():
        pytest.skip(reason)
    with postfix_peer.postfix() as server:
        yield server


@pytest.fixture
def exim() -> Iterator[Exim]:
    """An Exim that takes mail for example.test."""
    if reason := exim_peer.missing():
        pytest.skip(reason)
    with exim_peer.exim() as server:
        yield server
