"""Files that hold secrets: read for their owner alone, and nothing of them is told."""

from pathlib import Path

import pytest

from outrider.base.errors import ConfigError
from outrider.base.private_files import GROUP_AND_OTHERS, OTHERS, read_private

SECRET = b"hunter 2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "secret"
    found.write_bytes(SECRET)
    return found


@pytest.mark.parametrize(
    ("mode", "forbidden", "is_read"),
    [
        (0o600, GROUP_AND_OTHERS, True),
        (0o400, GROUP_AND_OTHERS, True),
        (0o640, GROUP_AND_OTHERS, False),
        (0o602, GROUP_AND_OTHERS, False),
        (0o440, OTHERS, True),
        (0o444, OTHERS, False),
    ],
)
def test_a_file_that_others_can_read_or_change_is_refused(
    path: Path, mode: int, forbidden: int, is_read: bool
) -> None:
    path.chmod(mode)
    if is_read:
        assert read_private(path, forbidden, 100, "password") == SECRET
        return
    with pytest.raises(ConfigError, match=rf"^password has mode {mode:04o}.*chmod 0600 {path}") as told:
        read_private(path, forbidden, 100, "password")
    assert SECRET.decode() not in str(told.value)


def test_one_octet_more_than_allowed_is_read_so_that_it_is_seen(path: Path) -> None:
    path.chmod(0o600)
    assert read_private(path, OTHERS, 3, "password") == SECRET[:4]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^password cannot be read: No such file or directory"):
        read_private(tmp_path / "none", OTHERS, 3, "password")
