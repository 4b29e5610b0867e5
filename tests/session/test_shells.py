"""The shells that people have, with the line editors and prompts that they have: by SSH, on a console, and
by Telnet.  Each result is written in the shell's own words."""

import os
import re
import shutil
import subprocess

import pytest
from support import prompt_corpus
from support.noisy import Noisy
from support.sshd import Account, Sshd
from support.waiting import BUSY
from virtvm.companions import aexpect, login

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.getuid() != 0, reason="needs root: accounts of its own")]
PATTERN = r"[\#\$%>❯]\s*$"
WORDS = "漢字 ä é"

# name: (its words, prompts: {what: (file, text)}, the question for a status)
SHELLS = {
    "bash": ("bash", {"plain": (".bash_profile", "PS1='root@vm:\\w# '\n"),
                      "fancy": (".bash_profile",
                                "PS1='\\[\\e]0;t\\a\\]\\[\\e[1;32m\\]\\t\\[\\e[0m\\] \\w\\n\\#:$? \\$ '\n"),
                      "marks": (".bash_profile", "PS0='\\e]133;C\\a'\nPS1='\\[\\e]133;A\\a\\]vm \\$ '\n")}, "echo $?"),
    "dash": ("dash", {"plain": (".profile", "PS1='root@vm# '\n")}, "echo $?"),
    "ash": ("busybox ash", {"plain": (".profile", "PS1='root@vm# '\n")}, "echo $?"),
    "ksh93": ("ksh93", {"plain": (".profile", "PS1='root@vm# '\n"), "fancy": (".profile", "PS1='!:vm$ '\n")},
              "echo $?"),
    "mksh": ("mksh", {"plain": (".profile", "PS1='root@vm# '\n")}, "echo $?"),
    "zsh": ("zsh", {"plain": (".zshrc", "PROMPT='%m%# '\n"),
                    "fancy": (".zshrc", "PROMPT='%B%n%b:%~ %? %# '\nRPROMPT='[%T]'\n")},
            "echo $?"),
    "fish": ("fish", {"plain": (".config/fish/config.fish", "set -g fish_greeting ''\n")}, "echo $status"),
    "tcsh": ("tcsh", {"plain": (".tcshrc", "set prompt='vm> '\n")}, "echo $status"),
}
CASES = [(name, what) for name, (_words, prompts, _question) in SHELLS.items() for what in prompts]


# Of several lines: with their status and output.
POSIX_LINES = [
    ("cat <<EOF\none\n> two\nEOF", 0, "one\n> two\n"),
    ("cat <<EOF\nEOF", 0, ""),
    ("for i in 1 2; do\necho $i\ndone", 0, "1\n2\n"),
    ("echo hi\n", 0, "hi\n"),
    ("echo 'a\nb'", 0, "a\nb\n"),
    ("printf '%s' \"one\ntwo\nthree\"", 0, "one\ntwo\nthree"),
    ("while read x; do\n  echo \"<$x>\"\ndone <<EOF\na b\n\n$ \nEOF", 0, "<a b>\n<>\n<$>\n"),
    ("echo one \\\ntwo", 0, "one two\n"),
    ("cat <<'EOF'\n%s\n%s\nEOF" % ("x" * 100, "0123456789" * 15), 0, "x" * 100 + "\n" + "0123456789" * 15 + "\n"),
    ("(\nprintf abc\nexit 7\n)", 7, "abc"),
    ("echo 'ä\n漢字'", 0, "ä\n漢字\n"),
    ("(echo a\necho b)", 0, "a\nb\n"),
    ("f() {\nreturn 3\n}\nf", 3, ""),            # two commands, and a prompt between them
    ("true\ntrue\nsh -c 'exit 4'", 4, ""),
    ("echo " + "y" * 60 + " '\n'", 0, "y" * 60 + " \n\n"),
]
FISH_LINES = [
    ("for i in 1 2\necho $i\nend", 0, "1\n2\n"),
    ("echo hi\n", 0, "hi\n"),
    ("echo 'a\nb'", 0, "a\nb\n"),
    ("begin\nprintf abc\nsh -c 'exit 7'\nend", 7, "abc"),
    ("printf '%s' \"one\ntwo\nthree\"", 0, "one\ntwo\nthree"),
    ("if true\n  echo x\nend", 0, "x\n"),
    ("echo one \\\ntwo", 0, "one two\n"),
    ("echo 'ä\n漢字'", 0, "ä\n漢字\n"),
    ("echo '%s\n%s'" % ("x" * 100, "0123456789" * 15), 0, "x" * 100 + "\n" + "0123456789" * 15 + "\n"),
]
LINES = dict.fromkeys(SHELLS, POSIX_LINES)
LINES.update(fish=FISH_LINES, tcsh=[])


def results(name):
    """Commands with their status and output."""
    status = "sh -c 'exit %d'"
    yield "true", 0, ""
    yield "echo hi", 0, "hi\n"
    yield "printf abc", 0, "abc"
    yield status % 3, 3, ""
    yield status % 127, 127, ""
    yield "printf '1\\n2\\n3'", 0, "1\n2\n3"
    yield "printf 12", 0, "12"
    yield "printf '\\n\\n'", 0, "\n\n"
    yield "printf 'total $ '", 0, "total $ "
    yield "printf '# '", 0, "# "
    yield "seq 300", 0, "".join("%d\n" % n for n in range(1, 301))
    yield "echo " + "x" * 100, 0, "x" * 100 + "\n"
    yield "echo " + "0123456789" * 30, 0, "0123456789" * 30 + "\n"
    yield "echo '%s'" % WORDS, 0, WORDS + "\n"
    yield "echo vt7:0", 0, "vt7:0\n"
    yield status % 255, 255, ""
    yield "sh -c 'printf one; exit 9'", 9, "one"
    yield "sh -c 'echo no >&2; exit 1'", 1, "no\n"
    yield "printf '\\n'", 0, "\n"
    yield "printf '   '", 0, "   "
    yield "printf 'a\\n\\nb'", 0, "a\n\nb"
    yield "printf '%s\\n' '$ ' '# ' '> '", 0, "$ \n# \n> \n"
    yield "printf 'vt1:0\\nvt2:1\\n'", 0, "vt1:0\nvt2:1\n"
    yield "printf '%s' '漢字'", 0, "漢字"
    yield "printf '\\t\\tx\\n'", 0, "\t\tx\n"
    yield "printf 'a\\rb\\n'", 0, "a\rb\n"
    yield "printf 'a\\bb\\n'", 0, "a\bb\n"
    yield "printf '\\033[1mbold\\033[0m\\n'", 0, "\033[1mbold\033[0m\n"
    yield "printf '\\033]0;its own\\007text\\n'", 0, "\033]0;its own\007text\n"
    yield "seq 2000 | tail -n 2", 0, "1999\n2000\n"
    yield "sleep 0.2; echo late", 0, "late\n"
    yield "printf 'wait...'; sleep 0.2; echo done", 0, "wait...done\n"
    yield "true; sh -c 'exit 5'", 5, ""
    if name == "bash":
        yield "printf 'root@vm# \\nroot@vm# '; sh -c 'exit 4'", 4, "root@vm# \nroot@vm# "
    yield from LINES[name]


def check(session, name, echoes_twice=False, only=lambda command: True):
    """only(command) says what is run.  echoes_twice: the shell's editor may show what the terminal has shown
    (docs/internals/prompts.rst)."""
    wrong = []
    wanted = [result for result in results(name) if only(result[0])]
    for n, (command, status, output) in enumerate(wanted):
        echo = command.rstrip("\n") + "\n" if echoes_twice else ""
        got = session.cmd_status_output(command, timeout=2 * BUSY)
        if got not in ((status, output), (status, echo + output)):
            wrong.append((command, got))
        got = session.cmd_output(command, timeout=2 * BUSY) if n % 3 == 0 else output
        if got not in (output, echo + output):
            wrong.append((command, got))
    assert not wrong


def prepare(folder, name, what):
    """A home with the shell's file, and the words that start the shell there."""
    path, text = SHELLS[name][1][what]
    full = os.path.join(folder, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as f:
        f.write(text)
    words = SHELLS[name][0].split()
    return [shutil.which(words[0]), *words[1:], "-l"]


@pytest.fixture(scope="module")
def server():
    """An account whose shell is what start in its home says."""
    account, server = Account(), None
    try:
        server = Sshd("ForceCommand exec %s/start" % account.home, account=account)
        yield server
    finally:
        if server is not None:
            server.stop()
        account.remove()


@pytest.mark.parametrize("name,what", CASES)
def test_shell_by_ssh(server, name, what):
    home = os.path.join(server.account.home, "%s-%s" % (name, what))
    words = prepare(home, name, what)
    start = os.path.join(server.account.home, "start")
    with open(start, "w") as f:
        f.write("#!/bin/sh\ncd /\nHOME=%s LANG=C.UTF-8 exec %s\n" % (home, " ".join(words)))
    os.chmod(start, 0o755)
    subprocess.run(["chown", "-R", server.account.name, server.account.home], check=True)
    session = login.remote_login("ssh", server.host, server.port, server.user, None, PATTERN, timeout=2 * BUSY,
                                 ssh_identity_file=server.key, status_test_command=SHELLS[name][2])
    with session:
        check(session, name)


def seven_bits(command):
    """Besides: a prompt of two characters is not known between commands of one call."""
    return command.isascii() and not re.match(r"f\(\)|true\n", command)


@pytest.mark.parametrize("name", ["bash", "dash"])
def test_shell_by_telnet(tmp_path, name):
    """Behind a real telnetd, which passes seven bits on unless the shell has the terminal otherwise, as bash does."""
    telnet = prompt_corpus.Telnet(str(tmp_path))
    try:
        with aexpect.ShellSession(engine=telnet.open(name), prompt=PATTERN) as session:
            session.find_prompt(2 * BUSY)
            check(session, name, only=seven_bits if name == "dash" else bool)
    finally:
        telnet.close()


def console(tmp_path, name, what, columns=80, only=bool):
    words = prepare(str(tmp_path), name, what)
    words = ["/bin/sh", "-c", "stty cols %d; exec %s" % (columns, " ".join(words))]
    env = {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8", "HOME": str(tmp_path)}
    with Noisy(tmp_path, words, env) as noisy, aexpect.ConsoleSession(
            noisy.path, prompt=PATTERN, status_test_command=SHELLS[name][2]) as session:
        session.sendline()
        login._remote_login(session, "root", "x", PATTERN, timeout=2 * BUSY)
        check(session, name, echoes_twice=name == "ksh93", only=only)


@pytest.mark.parametrize("name,what", CASES)
def test_shell_on_a_console(tmp_path, name, what):
    console(tmp_path, name, what)


@pytest.mark.parametrize("name,what,columns", [("fish", "plain", 40), ("zsh", "fancy", 200), ("bash", "fancy", 40),
                                               ("zsh", "fancy", 40), ("mksh", "plain", 40), ("ksh93", "fancy", 40)])
def test_shell_on_a_console_of_another_width(tmp_path, name, what, columns):
    def fits(command):
        """Lines of several rows behind a right prompt can't always be told (docs/internals/prompts.rst)."""
        lines = command.split("\n")
        return len(lines) == 1 or max(map(len, lines)) < columns

    console(tmp_path, name, what, columns, fits if (name, what) == ("zsh", "fancy") else bool)
