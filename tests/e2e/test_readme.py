"""The first screen of the project: the lines of Python that send a message do so."""

import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.outrider_process import configuration_for, serving
from tests.hostility.raw_receiver import raw_receiver
from tests.peers.processes import wait_until
from tools.project_files import ROOT


def test_the_ten_lines_of_the_readme_send_a_message(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert code.count('"127.0.0.1", 2525') == 1
    with raw_receiver() as receiver:
        configuration = configuration_for({"example.test": receiver.port}, workers=1)
        with serving(tmp_path, configuration) as server:
            code = code.replace("2525", str(server.ports["smtp"]))
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
            )
            assert done.returncode == 0, done.stderr
            wait_until(lambda: len(receiver.taken) == 1, "the message arrives")
    assert receiver.taken[0].recipients == ("customer@example.test",)
    assert b"Subject: Your order\r\n" in receiver.taken[0].wire
