"""What `make install` puts into a folder works there: version, configuration, and a delivered message.

The dependencies are lent by the environment of the tests; nothing is fetched.
"""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.outrider_process import OutriderProcess, short_sockets
from tests.e2e.practice import practising, provider, send
from tests.patience import PATIENCE_SECONDS
from tests.peers.processes import wait_until
from tools.project_files import ROOT

WORLD = provider("open", "open.test", "127.30.11.1")
FILES = (
    "etc/outrider/outrider.toml",
    "usr/bin/outrider",
    "usr/lib/systemd/system/outrider.service",
    "usr/lib/systemd/system/outrider-submission.socket",
    "usr/lib/systemd/system/outrider-backup.timer",
    "usr/lib/sysusers.d/outrider.conf",
    "usr/lib/tmpfiles.d/outrider.conf",
    "usr/share/man/man1/outrider.1",
    "usr/share/doc/outrider/README.md",
    "usr/share/doc/outrider/docs/README.md",
    "usr/share/doc/outrider/docs/how-to/install.md",
    "usr/share/doc/outrider/examples/policy/verp.py",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make install` filled, the way a packager does it."""
    target = tmp_path_factory.mktemp("install")
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/.ready", "install", f"DESTDIR={target}", "DEPENDENCIES=none"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (target / "usr/lib/outrider/lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return target


def run(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_everything_is_where_a_packager_looks(installed: Path) -> None:
    for name in FILES:
        assert (installed / name).is_file(), name
    texts = [
        path.read_text("utf-8", "replace")
        for path in installed.rglob("*")
        if path.is_file() and path.suffix in {"", ".service", ".conf", ".json", ".1", ".toml", ".timer"}
    ]
    assert not [text for text in texts if str(installed) in text], (
        "nothing installed names the staging folder"
    )
    assert "ExecStart=/usr/bin/outrider serve" in (installed / FILES[2]).read_text("utf-8")
    assert (installed / FILES[0]).stat().st_mode & 0o007 == 0


@pytest.mark.peer
def test_the_server_s_user_reads_the_configuration_and_nobody_else(installed: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to other users")
    if (sysusers := shutil.which("systemd-sysusers")) is None:
        pytest.skip("needs systemd-sysusers; `make peers` installs it")
    target = tmp_path / "root"
    shutil.copytree(installed, target, symlinks=True)
    run([sysusers, f"--root={target}", target / "usr/lib/sysusers.d/outrider.conf"], Path("/"))
    own = target / "usr/lib/tmpfiles.d/outrider.conf"
    run(["systemd-tmpfiles", f"--root={target}", "--create", own], Path("/"))
    [group] = re.findall(r"^outrider:x:(\d+):", (target / "etc/group").read_text("ascii"), re.MULTILINE)
    for name, mode in (("etc/outrider", 0o750), ("etc/outrider/outrider.toml", 0o640)):
        seen = (target / name).stat()
        assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o777) == (0, int(group), mode), name


def test_every_link_of_the_installed_manual_leads_somewhere(installed: Path) -> None:
    manual = installed / "usr/share/doc/outrider"
    pages = list(manual.rglob("*.md"))
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        if "://" not in link
    ]
    assert len(links) > 100, "they are looked at"
    assert not [(page, link) for page, link in links if not (page.parent / link).exists()]
    for unit in (installed / "usr/lib/systemd/system").glob("*.service"):
        [named] = re.findall(r"file:(\S+)", unit.read_text("utf-8"))
        assert (installed / named.lstrip("/")).is_file(), unit


def test_other_places_are_named_and_everybody_reads_whatever_the_umask(tmp_path: Path) -> None:
    places = ("PREFIX=/opt/outrider", "SYSCONFDIR=/opt/etc")
    subprocess.run(
        ["make", "-s", "-o", ".venv/.ready", "install", f"DESTDIR={tmp_path}", "DEPENDENCIES=none", *places],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=120,
        umask=0o077,
    )
    assert not [path for path in (tmp_path / "opt/outrider").rglob("*") if not path.stat().st_mode & 0o004]
    assert (tmp_path / "opt/etc/outrider/outrider.toml").stat().st_mode & 0o777 == 0o640
    units = "".join(path.read_text("utf-8") for path in (tmp_path / "opt/outrider/lib/systemd").rglob("*.*"))
    assert "ExecStart=/opt/outrider/bin/outrider serve -c /opt/etc/outrider/outrider.toml" in units
    assert re.search(r"@\w+@|[ :=]/etc/outrider", units) is None


def test_a_second_installation_keeps_the_configuration(installed: Path, tmp_path: Path) -> None:
    target = tmp_path / "again"
    shutil.copytree(installed, target, symlinks=True)
    (target / FILES[0]).write_text("# mine\n", encoding="utf-8")
    left_over = (target / "usr/lib/outrider/left-over.py", target / "usr/share/doc/outrider/left-over.md")
    for file in left_over:
        file.touch()
    subprocess.run(
        ["make", "-s", "-o", ".venv/.ready", "install", f"DESTDIR={target}", "DEPENDENCIES=none"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert (target / FILES[0]).read_text(encoding="utf-8") == "# mine\n"
    assert not [file for file in left_over if file.exists()]


def test_the_installed_server_delivers_a_message(installed: Path, tmp_path: Path) -> None:
    program = installed / "usr/bin/outrider"
    assert run([program, "--version"], Path("/")).startswith("outrider 0.")
    with practising(WORLD) as practice, ExitStack() as stack:
        run(
            [
                *(program, "init", "--hostname", "outrider.example.test", "--trust", "127.0.0.0/8"),
                *(
                    "--port",
                    "0",
                    "--http-port",
                    "0",
                    "--metrics-port",
                    "0",
                    "--state",
                    "state",
                    "--workers",
                    "1",
                ),
                *("--nameserver", f"127.0.0.1:{practice.internet.dns_port}"),
            ],
            tmp_path,
        )
        config = tmp_path / "outrider.toml"
        text = config.read_text(encoding="utf-8")
        text = text.replace("[net]\n", '[net]\nallowed_target_networks = ["127.0.0.0/8"]\n')
        text += f"[shaping.default]\nsmtp_port = {practice.internet.smtp_port}\n"
        text = stack.enter_context(short_sockets(tmp_path, text))
        config.write_text(text, encoding="utf-8")
        run([program, "check-config"], tmp_path)
        log = stack.enter_context((tmp_path / "server.log").open("ab"))
        command: list[str | Path] = [program, "serve"]
        tracer = shutil.which("strace")
        if tracer is not None:
            # chrt: as the unit's CPUSchedulingPolicy
            command = ["chrt", "--batch", "0", tracer, "-f", "-qq", "-o", tmp_path / "calls", *command]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        server = OutriderProcess(tmp_path, process)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(server.kill)
        line = process.stdout.readline()
        found = re.search(r"submission on 127\.0\.0\.1:(\d+)", line)
        assert found is not None, server.log()[-3000:]
        send(int(found[1]), "someone@open.test")
        wait_until(lambda: practice.seen("open").recipients == 1, "the message is delivered")
        run([program, "backup", "--without-keys"], tmp_path)
        # The tracer passes no signal on, so the server is told by its own number.
        supervisor = int(
            Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii").split()[0]
        )
        os.kill(supervisor if tracer else process.pid, signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
    if tracer is None:
        pytest.skip("it works; what it calls needs strace, which `make peers` installs")
    check_calls((tmp_path / "calls").read_text("utf-8", "replace"))


def check_calls(trace: str) -> None:
    """No call of the server is one that its unit forbids, by its filter or by MemoryDenyWriteExecute."""
    made = set(re.findall(r"^[0-9]+ +([a-z_0-9]+)\(", trace, re.MULTILINE))
    assert {"execve", "fdatasync", "accept4"} <= made
    # SQLite gives its files the owner of the database when root runs it, which the service never is.
    as_root = {"fchown"} if os.geteuid() == 0 else set()
    assert made - allowed_calls() - as_root == set()
    writable_code = [line for line in trace.splitlines() if "PROT_WRITE|PROT_EXEC" in line]
    assert writable_code == []


def allowed_calls() -> set[str]:
    """What the filter of outrider.service lets through, in the words of this systemd."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze; `make peers` installs it")
    listed = run([program, "syscall-filter", "--no-pager"], Path("/"))
    groups: dict[str, set[str]] = {}
    name = ""
    for line in listed.splitlines():
        if line.startswith(("@", "# @")):
            name = line.removeprefix("# ").strip()
            groups[name] = set()
        elif line.startswith("    ") and "#" not in line and name:
            groups[name].add(line.strip())

    def expanded(group: str) -> set[str]:
        return {call for one in groups[group] for call in (expanded(one) if one.startswith("@") else {one})}

    text = (ROOT / "packaging/systemd/outrider.service").read_text("utf-8")
    allowed: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        calls = {call for group in value.removeprefix("~").split() for call in expanded(group)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    assert len(allowed) > 100
    return allowed
