"""Passwords: which params are such, and that nothing shows them."""

import argparse
import copy
import json
import logging
import os
import pickle
import pprint
import re

import pytest
from virtvm.autotest.tests import test_object, virt_env_process
from virtvm.companions import error, login, secrets, transfer, utils, virt_utils
from virtvm.companions.params import Env, Params

CANARY = "hunter2-CANARY"


@pytest.mark.parametrize("name", ["password", "password_vm1", "Password", "admin_password", "passwd", "root_passwd_vm2",
                                  "passphrase", "ssh_identity_passphrase", "ssh_identity_passphrase_vm1", "vnc_pwd",
                                  "api_token", "client_secret", "credentials", "ftp_pass"])
def test_names_of_secrets(name):
    assert secrets.is_secret(name)
    assert secrets.masked({name: "x", "b": "y"}) == {name: "***", "b": "y"}
    assert secrets.masked({name: ""}) == {name: ""}


@pytest.mark.parametrize("name", ["username", "mem", "ssh_identity_file", "bypass", "key", "compass_file"])
def test_names_of_others(name):
    assert not secrets.is_secret(name)


def test_params_show_none():
    params = Params(password=CANARY, password_vm1=CANARY, mem="5")
    for text in (repr(params), str(params), "%s" % params, pprint.pformat(params), repr([params]),
                 repr(params.object_params("vm1")), repr(params.copy())):
        assert CANARY not in text and "'mem': '5'" in text
    assert params["password"] == CANARY and type(params["password"]) is str


def test_secret_is_a_text():
    secret = secrets.hidden(CANARY)
    assert secret == CANARY and "%s" % secret == CANARY and secret + "\n" == CANARY + "\n" and "%r" % secret == "'***'"
    for again in (copy.copy(secret), copy.deepcopy(secret), *(pickle.loads(pickle.dumps(secret, n)) for n in range(6))):
        assert again == CANARY
    assert type(pickle.loads(pickle.dumps(secret))) is str      # for those who load it elsewhere
    assert secrets.hidden(None) is None and secrets.hidden(secret) is secret


def frames(excinfo):
    """What a report that shows arguments and variables has of our frames."""
    return "".join("%s: %s\n" % (entry.name, {name: value for name, value in entry.frame.f_locals.items()})
                   for entry in excinfo.traceback if "virtvm" in str(entry.path) and "tests" not in str(entry.path))


MORE = {"ssh_identity_file": "/etc/passwd", "ssh_identity_passphrase": CANARY}


@pytest.mark.parametrize("call", [
    lambda: login.remote_login("ssh", "127.0.0.1", 1, "root", CANARY, "#", **MORE),
    lambda: login.remote_login("telnet", "127.0.0.1", 1, "root", password=CANARY, prompt="#", **MORE),
    lambda: login.remote_login("none", "127.0.0.1", 1, "root", CANARY, "#", **MORE),
    lambda: login.wait_for_login("ssh", "127.0.0.1", 1, "root", CANARY, "#", timeout=0.1, **MORE),
    lambda: transfer.copy_files_to("127.0.0.1", "scp", "root", CANARY, 1, "/etc/passwd", "/tmp", **MORE),
    lambda: transfer.copy_files_from("127.0.0.1", "scp", "root", CANARY, 1, "/etc/passwd", "/tmp", **MORE),
    lambda: transfer.scp_to_remote("127.0.0.1", 1, "root", CANARY, "/etc/passwd", "/tmp", **MORE),
    lambda: transfer.scp_from_remote("127.0.0.1", 1, "root", CANARY, "/etc/passwd", "/tmp", **MORE),
    lambda: transfer.scp_between_remotes("127.0.0.1", "127.0.0.1", 1, CANARY, CANARY, "a", "b", "/etc/passwd", "/tmp",
                                         **MORE),
    lambda: transfer.remote_scp("sleep 9", [CANARY], login_timeout=0.1, transfer_timeout=0.1),
])
def test_tracebacks_show_none(call):
    with pytest.raises(Exception) as excinfo:
        call()
    assert "login.py" in str(excinfo.traceback) or "transfer.py" in str(excinfo.traceback)
    assert CANARY not in frames(excinfo)
    assert CANARY not in str(excinfo.value) + repr(excinfo.value) + repr(vars(excinfo.value))
    assert CANARY.encode() not in pickle.dumps(excinfo.value)


SOURCES = {
    "param": ["--param", "password=" + CANARY, "--param", "vnc_pwd=" + CANARY],
    "toml": ["--config", "a.toml"], "variants": ["--config", "a.cfg"], "guest": ["--guest", "guest"],
    "file": ["--password-file", "word"], "environment": [], "marker": [],
}


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads a configuration that has the canary from one source."""
    from virtvm import config, guest
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text('[params]\nmy_token = "%s"\n[tests.x]\npassword = "%s"\n'
                                     '[objects.vm1]\npassword = "%s"\n' % (CANARY, CANARY, CANARY))
    (tmp_path / "a.cfg").write_text("password = %s\nvariants:\n    - a:\n        type = x\n        my_token = %s\n"
                                    % (CANARY, CANARY))
    (tmp_path / "word").write_text(CANARY + "\n")
    monkeypatch.setattr(config, "_built", lambda folder, build: guest.Guest(folder, CANARY))

    def load(source):
        monkeypatch.setenv("VIRTVM_PASSWORD", CANARY if source == "environment" else "")
        parser = argparse.ArgumentParser()
        config.add_arguments(parser.add_argument)
        return config.load(parser.parse_args(SOURCES[source]))
    return load


@pytest.mark.parametrize("source", SOURCES)
def test_configuration_shows_none(loaded, source):
    found = loaded(source)
    marked = {"password": secrets.hidden(CANARY)} if source == "marker" else {}
    params = found.params_for("x", marked=marked)
    held = {key: value for key, value in params.items() if value == CANARY}
    assert held and all(type(value) is secrets.Secret for value in held.values())
    # As a variable of a test's own; the variants' text is a file's, of which a parser shows a line at most.
    shown = [dict(params), sorted(params.items()), {k: v for k, v in vars(found).items() if k != "variants"},
             dict(params.object_params("vm1")), [dict(run) for _, run in found.runs("x")]]
    assert CANARY not in repr(shown) and CANARY not in pprint.pformat(shown)
    for text in (json.dumps(held), "%s" % (list(held.values())[0],), ":".join(held.values())):
        assert CANARY in text                   # where it is meant to be, it is itself


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("broken", ["virtvm.config.Config._image", "virtvm.companions.params.Params.__init__",
                                    "virtvm.config.Config._account"])
def test_failure_inside_the_configuration_shows_none(loaded, source, broken, monkeypatch):
    def fail(*args, **keywords):
        raise RuntimeError("broken")
    monkeypatch.setattr(broken, fail)
    with pytest.raises(RuntimeError, match="broken") as excinfo:
        loaded(source).params_for("x")
    assert "self: <virtvm.params.config.Config" in frames(excinfo).replace("'self'", "self")
    assert CANARY not in frames(excinfo)


def test_commands_of_params_get_them_by_environment_alone(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    suite = test_object.Test("a", str(tmp_path), str(tmp_path / "out"))
    params = Params(password=CANARY, big="x" * 100000, bigger="y" * 100000)
    look = ('test "$KVM_TEST_password" = %s"" && test ${#KVM_TEST_bigger} = 100000 && '
            'cat /proc/*/cmdline >seen 2>/dev/null; pwd; false' % CANARY.replace("2", '2""'))
    try:
        with pytest.raises(error.CmdError) as excinfo:
            virt_env_process.process_command(suite, params, Env(), look, 60, False)
        virt_env_process.process_command(suite, params, Env(), look, 60, True)
    finally:
        suite.close()
    assert excinfo.value.result_obj.stdout == "%s\n" % os.path.realpath(tmp_path)
    seen = (tmp_path / "seen").read_bytes()
    assert b"KVM_TEST" in seen and CANARY.encode() not in seen
    for text in (str(excinfo.value), repr(excinfo.value), repr(excinfo.value.result_obj), caplog.text, frames(excinfo)):
        assert CANARY not in text


def test_environment_of_a_command():
    assert utils.run("echo $A $HOME", env={"A": "b"}).stdout == "b %s\n" % os.environ["HOME"]
    assert "A" not in os.environ
    assert utils.run("pwd", cwd="/proc").stdout == "/proc\n"


def test_sources(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("of the file\nmore\n")
    monkeypatch.delenv("VIRTVM_PASSWORD", raising=False)
    assert secrets.password() is None and secrets.passphrase() is None
    monkeypatch.setenv("VIRTVM_PASSWORD", CANARY)
    monkeypatch.setenv("VIRTVM_PASSPHRASE", CANARY)
    assert secrets.password() == CANARY == secrets.passphrase() and repr(secrets.password()) == "'***'"
    assert secrets.password(str(tmp_path / "file")) == "of the file"
    with pytest.raises(OSError):
        secrets.password(str(tmp_path / "none"))


def test_logs_of_dialogues_have_none(tmp_path, caplog):
    """A console that echoes nothing, as they do: the log has the questions, not the answer."""
    caplog.set_level(logging.DEBUG)
    from virtvm.companions import aexpect
    script = tmp_path / "getty"
    script.write_text("#!/bin/sh\nprintf 'login: '; read user; stty -echo; printf 'Password: '; read word; stty echo\n"
                      "test $word = %s && PS1='# ' exec sh -i\n" % CANARY)
    script.chmod(0o755)
    with aexpect.ShellSession(str(script), output_func=virt_utils.log_line,
                              output_params=(str(tmp_path / "log"),)) as session:
        output = login.handle_prompts(session, "root", CANARY, r"# $", debug=True)
        assert session.cmd("echo in") == "in\n"
        assert CANARY not in output + session.get_output() + repr(session) + repr(vars(session))
    virt_utils.close_log_file(str(tmp_path / "log"))
    assert CANARY not in caplog.text and CANARY not in (tmp_path / "log").read_text()
    assert re.search("assword", caplog.text)
