"""The shell port of a Windows guest's remote shell server, with a little of cmd.exe behind it.

There is no login, no terminal and no encoding: bytes of the OEM code page, lines that end in
CR LF, and a prompt. Whether input is echoed depends on the console, so it can be chosen.
"""

import contextlib
import re
import socket
import threading

BANNER = (b"Microsoft Windows [Version 6.1.7601]\r\n"
          b"Copyright (c) 2009 Microsoft Corporation.  All rights reserved.\r\n")


class CmdServer:
    """Serves one shell after another; port is where.  script: {command line: (output, errorlevel)}."""

    def __init__(self, script, echo=False, start_delay=0.0):
        self.script, self.echo, self.start_delay = script, echo, start_delay
        self.heard, self.peers, self.stopped = [], [], threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            with peer, contextlib.suppress(OSError):
                if self.stopped.is_set():
                    return
                peer.sendall(b"Please wait...\r\n")
                self.stopped.wait(self.start_delay)
                Cmd(self, peer).run()


class Cmd:
    """One cmd.exe."""

    def __init__(self, server, peer):
        self.server, self.peer, self.level, self.folder = server, peer, 0, b"C:\\"

    def run(self):
        self.peer.sendall(BANNER + b"\r\n" + self.prompt())
        with self.peer.makefile("rb") as lines:
            for line in lines:
                line = line.rstrip(b"\r\n")
                self.server.heard.append(line)
                if line.strip().lower() == b"exit":
                    return
                echo = line + b"\r\n" if self.server.echo else b""
                output = self.answer(line.strip()) if line.strip() else b""
                blank = b"\r\n" if line.strip() else b""        # cmd.exe sets off its prompt
                self.peer.sendall(echo + output + blank + self.prompt())

    def prompt(self):
        return self.folder + b">"

    def answer(self, line):
        if line.lower().startswith(b"echo "):
            return re.sub(rb"(?i)%errorlevel%", b"%d" % self.level, line[5:]) + b"\r\n"
        if line.lower().startswith(b"cd "):
            self.folder = line[3:].strip()
            return b""
        output, self.level = self.server.script.get(line, (None, 1))
        if output is None:
            output = (b"'%s' is not recognized as an internal or external command,\r\n"
                      b"operable program or batch file.\r\n" % line)
        return output
