"""Outrider with policy and signing, for run.py: lines for its configuration, and what one signature costs.

`outrider-policy` and `outrider-lua` run one hook that reads two headers and sets a binding, in each language.
`outrider-rsa` and `outrider-ed25519` are what a sender for others runs: a hook that looks the customer's
binding up in a database (from the second message on in the cache), and a signature by configuration.
"""

import re
import sqlite3
import subprocess
from pathlib import Path

PROGRAMS = ("outrider-policy", "outrider-lua", "outrider-rsa", "outrider-ed25519")
WORKERS = 2
# the figures that are asked for are those of two workers
SIGNERS = {"outrider-rsa": "rsa2048", "outrider-ed25519": "ed25519"}
# and how `openssl speed` calls the key

BINDING = """
[[binding]]
name = "shared"
"""
PYTHON = """\
def set_binding(mail):
    sender, subject = mail.header("From"), mail.header("Subject")
    if sender or subject:  # the probes of latency have no From
        mail.binding = "shared"
"""
LUA = """\
require("msys.core")
local mod = {}
function mod:validate_set_binding(msg)
  local sender, subject = msg:header("From"), msg:header("Subject")
  if sender[1] or subject[1] then msg:binding("shared") end
  return msys.core.VALIDATE_CONT
end
msys.registerModule("bench", mod)
"""
DATABASE = """\
from outrider.policy.api import source

QUERY = "SELECT binding FROM customers WHERE domain = ?"

def set_binding(mail):
    of = (mail.mail_from.rpartition("@")[2],)
    rows = source("customers").peek(QUERY, of)
    if rows is None:
        return ask(mail, of)
    mail.binding = rows[0]["binding"]

async def ask(mail, of):
    [row] = await source("customers").fetch(QUERY, of)
    mail.binding = row["binding"]
"""
DOMAIN = "source.test"
SOURCE = """
[[data_source]]
name = "customers"
url = "sqlite:///customers.sqlite"
"""
ALGORITHMS = {"outrider-rsa": ("RSA", "-pkeyopt", "rsa_keygen_bits:2048"), "outrider-ed25519": ("ED25519",)}


def _script(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return f'\n[[policy.script]]\nname = "bench"\nsource = "{name}"\n'


def _signing(program: str, folder: Path) -> str:
    key = folder / "key.pem"
    key.touch(0o600)
    generate = ["openssl", "genpkey", "-algorithm", *ALGORITHMS[program], "-out", str(key)]
    subprocess.run(generate, check=True, capture_output=True)
    return '\n[[dkim]]\ndomain = "*"\nselector = "bench"\nkey_file = "key.pem"\n'


def _customers(folder: Path) -> str:
    database = sqlite3.connect(folder / "customers.sqlite")
    with database:
        database.execute("CREATE TABLE customers (domain TEXT PRIMARY KEY, binding TEXT)")
        database.execute("INSERT INTO customers VALUES (?, 'shared')", (DOMAIN,))
    database.close()
    return SOURCE


def added(program: str, folder: Path) -> str:
    """Lines for the end of the configuration in `folder`, whose other files are made."""
    match program:
        case "outrider-policy":
            return BINDING + _script(folder, "bench.py", PYTHON)
        case "outrider-lua":
            return BINDING + _script(folder, "bench.lua", LUA)
        case _:
            return (
                BINDING
                + _script(folder, "bench.py", DATABASE)
                + _customers(folder)
                + _signing(program, folder)
            )


def signature_us() -> dict[str, float]:
    """What `openssl speed` says of one signature, in µs of processor time, by program."""
    command = ["openssl", "speed", "-seconds", "1", *SIGNERS.values()]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {
        "outrider-rsa": 1e6 / _per_second(printed, r"rsa\s+2048 bits"),
        "outrider-ed25519": 1e6 / _per_second(printed, r"253 bits EdDSA"),
    }


def _per_second(printed: str, name: str) -> float:
    """The column `sign/s` of a row, counted from the end, as names have spaces in them."""
    lines = printed.splitlines()
    at = next(place for place, line in enumerate(lines) if re.match(rf"\s*{name}", line))
    columns = next(line.split() for line in reversed(lines[:at]) if "sign/s" in line)
    # `verify/s` and the like stand as one word each
    return float(lines[at].split()[columns.index("sign/s") - len(columns)])


def ratios(cpu: dict[tuple[str, str, int], float], signature: dict[str, float]) -> dict[str, float]:
    """What the promises are about: what policy, and what a signature beside its own work, add to a message.

    Args:
        cpu: µs a message, by program, case and workers.
        signature: As `signature_us` gives it; empty where nothing was signed.
    """
    found = {
        f"openssl speed: one signature of {program}, µs": round(us, 1) for program, us in signature.items()
    }
    for (program, case, workers), figure in cpu.items():
        plain = cpu.get(("outrider", case, workers))
        if program not in PROGRAMS or not plain:
            continue
        name = f"{case} {workers} workers: cpu {program} - outrider"
        if program in signature:
            found[f"{name} - openssl, µs"] = round(figure - plain - signature[program], 1)
        else:
            found[f"{name}, µs"] = round(figure - plain, 1)
    return found
