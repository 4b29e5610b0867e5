"""Completion of the command line, by the shells themselves (docs/running.rst)."""
import os
import shlex
import subprocess
import sys

import pytest

# As bash does at a Tab.
BASH = r"""
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDS=() COMPREPLY=()
read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
ask=$(complete -p virtvm | sed 's/.* -F \([^ ]*\).*/\1/')
"$ask" virtvm "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
FISH = "complete -C $argv[1]"


@pytest.fixture
def where(tmp_path):
    """Environment in which `virtvm` is this interpreter's."""
    program = tmp_path / "virtvm"
    program.write_text("#!/bin/sh\nexec %s -m virtvm \"$@\"\n" % shlex.quote(sys.executable))
    program.chmod(0o755)
    return dict(os.environ, PATH="%s:%s" % (tmp_path, os.environ["PATH"]), HOME=str(tmp_path),
                PYTHONPATH=os.pathsep.join(filter(None, sys.path)))


def registered(shell):
    """What a user's start file runs."""
    done = subprocess.run([sys.executable, "-c", "import argcomplete.shell_integration as s; "
                           "print(s.shellcode(['virtvm'], shell='%s'))" % shell], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def offered(shell, line, env):
    """The words that the shell offers behind line."""
    command = {"bash": ["bash", "--norc", "-c", registered("bash") + BASH, "bash", line],
               "fish": ["fish", "--no-config", "-c", registered("fish") + FISH, line]}[shell]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert done.stderr == b""
    return [word.split("\t")[0].strip() for word in done.stdout.decode().splitlines() if word]


@pytest.fixture(params=["bash", "fish"])
def shell(request):
    return request.param


def test_commands(shell, where):
    assert {"run", "list", "shell", "params", "guest"} <= set(offered(shell, "virtvm ", where))


def test_options(shell, where):
    assert set(offered(shell, "virtvm run --image", where)) == {"--image", "--image-format", "--image-backing"}


def test_params_by_name(shell, where):
    found = offered(shell, "virtvm params shell_", where)
    assert {"shell_client", "shell_prompt", "shell_output_limit"} <= set(found)
    assert all(name.startswith("shell_") for name in found)


def test_params_that_are_given(shell, where):
    assert offered(shell, "virtvm run --param shell_o", where) == ["shell_output_limit="]
    # One that does nothing here is not offered, though `virtvm params` knows it.
    assert offered(shell, "virtvm run --param vnc_pass", where) == []
    assert offered(shell, "virtvm params vnc_pass", where) == ["vnc_password"]


def test_values_of_yes_and_no(where):
    assert offered("bash", "virtvm run --param image_snapshot=", where) == ["yes", "no"]
    assert offered("bash", "virtvm run --param image_snapshot=y", where) == ["yes"]
    assert offered("bash", "virtvm run --param main_vm=", where) == []


def test_zsh(where, tmp_path):
    """It completes at a terminal only."""
    from virtvm.companions import aexpect
    (tmp_path / "rc").write_text("autoload -U compinit; compinit -u -D\n%s\nPS1='rea''dy> '\n" % registered("zsh"))
    given = ["%s=%s" % (name, where[name]) for name in ("PATH", "HOME", "PYTHONPATH")]
    shell = aexpect.Expect(" ".join(map(shlex.quote, ["env", *given, "TERM=dumb", "zsh", "-f", "-i"])))
    try:
        shell.sendline("source " + shlex.quote(str(tmp_path / "rc")))
        shell.read_until_output_matches(["ready> "], timeout=60)
        shell.send("virtvm params shell_o\t")
        shell.read_until_output_matches(["shell_output_limit "], timeout=60)
    finally:
        shell.close()


def test_without_argcomplete_nothing_is_answered(where, tmp_path):
    """The command itself runs as always."""
    (tmp_path / "hidden" / "argcomplete").mkdir(parents=True)
    (tmp_path / "hidden" / "argcomplete" / "__init__.py").write_text("raise ImportError('hidden')")
    env = dict(where, _ARGCOMPLETE="1", PYTHONPATH="%s:%s" % (tmp_path / "hidden", where["PYTHONPATH"]))
    done = subprocess.run(["virtvm", "params", "shell_port"], env=env, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == 0 and b"shell_port" in done.stdout
