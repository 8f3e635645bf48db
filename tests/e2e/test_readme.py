"""The first page of the project: its lines of Python do what it says of them."""

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.e2e.outrider_process import OutriderProcess, configuration_for, serving
from tests.e2e.practice import events_of
from tests.hostility.raw_receiver import raw_receiver
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tools.project_files import ROOT

CUSTOMERS = """
[[binding]]
name = "vip"

[[data_source]]
name = "crm"
url = "sqlite:///crm.db"

[[policy.script]]
name = "customers"
source = "customers.py"
"""


def python_of_the_page() -> tuple[str, str]:
    """What sends a message, and the policy."""
    sends, decides = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return sends, decides


def send(server: OutriderProcess, code: str) -> None:
    assert code.count('"127.0.0.1", 2525') == 1
    code = code.replace("2525", str(server.ports["smtp"]))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr


def test_the_ten_lines_of_the_readme_send_a_message(tmp_path: Path) -> None:
    code, _ = python_of_the_page()
    with raw_receiver() as receiver:
        configuration = configuration_for({"example.test": receiver.port}, workers=1)
        with serving(tmp_path, configuration) as server:
            send(server, code)
            wait_until(lambda: len(receiver.taken) == 1, "the message arrives")
    assert receiver.taken[0].recipients == ("customer@example.test",)
    assert b"Subject: Your order\r\n" in receiver.taken[0].wire


def test_the_policy_of_the_readme_gives_a_customer_its_binding(tmp_path: Path) -> None:
    code, policy = python_of_the_page()
    (tmp_path / "customers.py").write_text(policy, encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / "crm.db")) as database:
        database.execute("CREATE TABLE customer (id TEXT, binding TEXT)")
        database.execute("INSERT INTO customer VALUES ('42', 'vip')")
        database.commit()
    subject = 'message["Subject"] = "Your order"\n'
    assert subject in code
    with raw_receiver() as receiver:
        configuration = configuration_for({"example.test": receiver.port}, workers=1, more=CUSTOMERS)
        with serving(tmp_path, configuration) as server:
            send(server, code.replace(subject, subject + 'message["X-Customer"] = "42"\n'))
            send(server, code.replace(subject, subject + 'message["X-Customer"] = "7"\n'))
            wait_until(lambda: len(events_of(server, "reception")) == 2, "both are recorded")
            bindings = [event["binding"] for event in events_of(server, "reception")]
    assert bindings == ["vip", "default"]
