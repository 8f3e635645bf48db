"""The examples of docs/how-to/inject-by-http.md, run as they stand against a server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.outrider_process import PROGRAM, configuration_for, serving
from tests.hostility.raw_receiver import raw_receiver
from tests.peers.processes import wait_until
from tools.project_files import ROOT

PAGE = ROOT / "docs" / "how-to" / "inject-by-http.md"


def examples() -> list[tuple[str, str]]:
    return re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_work_as_written(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    line = [*PROGRAM, "user", "key", "create", "web", "-d", "shop.example", "--file", "users.toml", "--json"]
    made = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    users = folder / "users.toml"
    answers: list[Any] = []
    with raw_receiver() as receiver:
        text = configuration_for({"receiver.test": receiver.port}, workers=1, users_file=users)
        with serving(folder, text) as server:
            environment = {
                **os.environ,
                "URL": f"http://127.0.0.1:{server.ports['http']}",
                "KEY": json.loads(made.stdout)["key"],
            }
            for language, code in examples():
                if answers:
                    environment["ID"] = answers[0]["id"]
                shell = ["bash", "-euc", code] if language == "sh" else [sys.executable, "-c", code]
                done = subprocess.run(
                    shell, env=environment, capture_output=True, text=True, check=False, timeout=60
                )
                assert done.returncode == 0, (code, done.stdout, done.stderr)
                if language == "sh":
                    answers.append(json.loads(done.stdout))
                else:
                    assert done.stdout == "100 results, 0 failed, 0 to send again\n"
            assert [answer.get("recipients") for answer in answers[:3]] == [1, 2, 1]
            assert answers[3]["id"] == answers[0]["id"]
            wait_until(lambda: len(receiver.taken) == 103, "all but the one that waits")
            assert server.command("queue", "count")["count"] == 1
    assert any(b"Subject: Hello Bob & Co\r\n" in taken.wire for taken in receiver.taken)
    assert any(b"<p>Dear Bob &amp; Co</p>" in taken.wire for taken in receiver.taken)


def test_there_are_examples_of_both_kinds() -> None:
    assert [language for language, _ in examples()] == ["sh", "sh", "sh", "python", "sh"]
