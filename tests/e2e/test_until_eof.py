"""A server started with `--until-eof` ends, drained, when whoever started it is gone."""

import subprocess
from pathlib import Path

from tests.e2e.outrider_process import PROGRAM, configuration_for
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import free_port


def test_the_server_ends_with_its_starter(tmp_path: Path) -> None:
    config = tmp_path / "outrider.toml"
    config.write_text(configuration_for({"example.test": free_port()}, workers=1), encoding="utf-8")
    with (
        (tmp_path / "server.log").open("wb") as log,
        subprocess.Popen(
            [*PROGRAM, "serve", "-c", str(config), "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"Ready.")
        server.stdin.write(b"what comes in means nothing")
        server.stdin.close()
        assert server.wait(PATIENCE_SECONDS) == 0
    assert "process.killed" not in (tmp_path / "server.log").read_text(encoding="utf-8")
