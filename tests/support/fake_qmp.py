"""A QMP server, as far as a monitor of ours asks it."""

import contextlib
import json
import socket
import threading

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}


class FakeQMP:
    """Answers each command with {}; `socket` is the monitor's end.  peer: a connection to serve instead."""

    def __init__(self, peer=None):
        self.socket, self._peer = socket.socketpair() if peer is None else (None, peer)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(OSError):      # the monitor is gone
            self._peer.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._peer.close()

    def _serve(self):
        self._say(GREETING)
        text, decoder = "", json.JSONDecoder()
        while True:
            try:
                piece = self._peer.recv(65536)
            except ConnectionResetError:        # it has not read all
                return
            if not piece:
                return
            text += piece.decode()
            while text.strip():
                try:
                    message, end = decoder.raw_decode(text.lstrip())
                except ValueError:      # the rest is to come
                    break
                text = text.lstrip()[end:]
                self._say(dict({"return": {}}, **{key: message[key] for key in ("id",) if key in message}))

    def _say(self, message):
        with self._lock:
            with contextlib.suppress(OSError):
                self._peer.sendall(json.dumps(message).encode() + b"\r\n")

    def tell(self, event):
        """Send an event of that name."""
        self._say({"event": event, "data": {}, "timestamp": {"seconds": 0, "microseconds": 0}})
