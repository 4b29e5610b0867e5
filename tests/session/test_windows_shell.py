"""shell_client = nc: the remote shell server of a Windows guest, with its configuration's
parameters."""

import pytest
from support.cmd_server import CmdServer
from support.rss_server import RssServer
from support.waiting import BUSY
from virtvm import virt_vm
from virtvm.companions import aexpect, login, virt_utils
from virtvm.companions.exceptions import ShellCmdError, ShellTimeoutError
from virtvm.companions.rss_client import FileTransferNotFoundError

PROMPT = r"^\w:\\.*>\s*$"
SCRIPT = {
    b"ver": (b"\r\nMicrosoft Windows [Version 6.1.7601]\r\n", 0),
    b"crash": (b"it failed\r\n", -1073741510),
    b"long": (b"".join(b"line %d\r\n" % n for n in range(5000)), 0),
    b"looks like a prompt": (b"C:\\fake>\r\nD:\\also>\r\nend\r\n", 0),
    b"oem": (b"gr\x81n\r\n", 0),
}


def log_in(server, **keywords):
    session = login.remote_login("nc", "127.0.0.1", server.port, "Administrator", "secret", PROMPT, "\r\n",
                                 **dict({"timeout": 20}, **keywords))
    session.set_status_test_command("echo %errorlevel%")
    return session


@pytest.mark.parametrize("echo", [False, True])
def test_commands_and_their_status(echo):
    with CmdServer(SCRIPT, echo=echo) as server, log_in(server) as session:
        assert "Microsoft Windows [Version 6.1.7601]" in session.cmd("ver")
        assert session.cmd_output("ver").count("\r") == 0
        assert session.cmd_status("crash") == -1073741510
        assert session.cmd_status_output("crash") == (-1073741510, "it failed\n")
        assert session.cmd_status("ver") == 0
        with pytest.raises(ShellCmdError, match="not recognized") as info:
            session.cmd("nonsense")
        assert info.value.status == 1
        assert session.cmd_status_output("echo hi") == (1, "hi\n")     # echo leaves it as it is
        assert session.is_responsive()
    assert b"secret" not in b"".join(server.heard)


def test_prompt_that_moves_and_output_like_it():
    with CmdServer(SCRIPT) as server, log_in(server) as session:
        session.cmd("cd C:\\Program Files")
        assert session.cmd("echo here") == "here\n"
        assert session.cmd("looks like a prompt").splitlines() == ["C:\\fake>", "D:\\also>", "end"]
        assert len(session.cmd("long").splitlines()) == 5000


def test_bytes_of_the_oem_code_page():
    with CmdServer(SCRIPT) as server, log_in(server) as session:
        assert session.cmd("oem") == "gr\\x81n\n"
        session.encoding = "cp437"
        assert session.cmd("oem") == "gr\xfcn\n"


def test_a_shell_that_is_slow_to_start():
    with CmdServer(SCRIPT, start_delay=0.6) as server, log_in(server) as session:
        assert session.cmd("echo hi") == "hi\n"


def test_exit():
    with CmdServer(SCRIPT) as server:
        session = log_in(server)
        session.sendline("exit")
        with pytest.raises(aexpect.ExpectProcessTerminatedError):
            session.read_until_output_matches(["never"], timeout=2 * BUSY)
        assert not session.is_alive()
        assert "C:\\>" in session.get_output()
        session.close()


def test_a_command_without_end():
    script = dict(SCRIPT)
    with CmdServer(script) as server, log_in(server) as session:
        server.script = _Hanging(server)
        with pytest.raises(ShellTimeoutError):
            session.cmd("hang", timeout=0.3)


class _Hanging(dict):
    """A script whose every command lasts until the server is stopped."""

    def __init__(self, server):
        dict.__init__(self)
        self.server = server

    def get(self, line, default=None):
        self.server.stopped.wait(30)
        return b"", 0


class Guest(virt_vm.BaseVM):
    """A Windows guest that somebody else runs: where its two ports are is all that is known."""

    def __init__(self, ports):
        virt_vm.BaseVM.__init__(self, "win7", {
            "username": "Administrator", "password": "secret", "shell_client": "nc", "shell_port": "10022",
            "shell_prompt": PROMPT, "shell_linesep": r"\r\n", "status_test_command": "echo %errorlevel%",
            "file_transfer_client": "rss", "file_transfer_port": "10023", "transfer_stall_timeout": "20"})
        self.ports = ports

    def get_address(self, index=0):
        return "127.0.0.1"

    def get_port(self, port, index=0):
        return self.ports[port]


def test_a_virtual_machine_with_windows(tmp_path, monkeypatch):
    drive = tmp_path / "drive"
    drive.mkdir()
    (tmp_path / "setup.exe").write_bytes(b"MZ" * 50000)
    monkeypatch.setattr(virt_utils._log_files, "folder", str(tmp_path))
    with CmdServer(SCRIPT) as shell, RssServer(drive) as files:
        vm = Guest({10022: shell.port, 10023: files.port})
        with vm.wait_for_login(timeout=2 * BUSY) as session:
            assert session.cmd_status("crash") == -1073741510
        vm.copy_files_to(str(tmp_path / "setup.exe"), "C:\\", timeout=2 * BUSY)
        vm.copy_files_from("C:\\setup.exe", str(tmp_path / "back"), timeout=2 * BUSY, verbose=True)
        assert (tmp_path / "back").read_bytes() == (drive / "setup.exe").read_bytes() == b"MZ" * 50000
        with pytest.raises(FileTransferNotFoundError):
            vm.copy_files_from("C:\\no", str(tmp_path), timeout=2 * BUSY)
