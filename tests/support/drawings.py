"""What shells really draw when commands are typed, kept in tests/corpus/drawings/shells.json.

`python tests/support/drawings.py` records them anew: each shell of DRAWERS, on terminals of 40, 80 and 200 columns.
"""

import base64
import fcntl
import json
import os
import pty
import select
import signal
import struct
import tempfile
import termios

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "corpus", "drawings", "shells.json")
WIDTHS = (40, 80, 200)
DRAWERS = {       # name: (words, file of its home, text)
    "bash": (["bash", "-l"], ".bash_profile", "PS1='root@vm# '\n"),
    "busybox": (["busybox", "ash", "-l"], ".profile", "PS1='root@vm# '\n"),
    "mksh": (["mksh", "-l"], ".profile", "PS1='root@vm# '\n"),
    "zsh": (["zsh", "-l"], ".zshrc", "PROMPT='%m%# '\n"),
    "zsh with a right prompt": (["zsh", "-l"], ".zshrc", "PROMPT='%B%n%b:%~ %? %# '\nRPROMPT='[%T]'\n"),
    "fish": (["fish", "-l"], ".config/fish/config.fish", "set -g fish_greeting ''\n"),
}
COMMANDS = ["true", "echo " + "x" * 14, "echo " + "x" * 60, "echo " + "0123456789" * 9, "echo a  b 'c d' | cat",
            "echo '漢字 ä é 漢字漢字漢字漢字漢字漢字漢字漢字'", "for i in 1 2 3; do echo hello $i; done"]


def read_silence(tty, first, seconds=0.6):
    """All that comes until nothing has come for so long."""
    out = b""
    while select.select([tty], [], [], seconds if out else first)[0]:
        out += os.read(tty, 65536)
    return out


def record(name, columns):
    """What one shell draws: its prompt, and each command's drawing with the output behind."""
    words, path, text = DRAWERS[name]
    with tempfile.TemporaryDirectory() as home:
        full = os.path.join(home, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as f:
            f.write(text)
        pid, tty = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.chdir("/")
            os.execvpe(words[0], words, {"PATH": os.environ["PATH"], "TERM": "xterm", "LANG": "C.UTF-8",
                                         "HOME": home})
        before = read_silence(tty, 20)
        for command in COMMANDS:
            if name == "fish" and command.startswith("for"):
                continue
            os.write(tty, command.encode() + b"\n")
            drawn = read_silence(tty, 20)
            yield {"shell": name, "columns": columns, "command": command,
                   "prompt": base64.b64encode(before[before.rfind(b"\n") + 1:]).decode(),
                   "drawn": base64.b64encode(drawn).decode()}
            before = drawn
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(tty)


def drawings():
    """The records, with bytes for prompt and drawn."""
    with open(PATH) as f:
        found = json.load(f)
    for drawing in found:
        for key in ("prompt", "drawn"):
            drawing[key] = base64.b64decode(drawing[key])
    return found


if __name__ == "__main__":
    everything = [drawing for name in DRAWERS for columns in WIDTHS for drawing in record(name, columns)]
    with open(PATH, "w") as f:
        json.dump(everything, f, indent=0)
        f.write("\n")
