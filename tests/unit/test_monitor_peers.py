"""Monitors whose other end says what no QEMU says."""

import ast
import inspect
import json
import logging
import re
import socket
import threading

import pytest

monitor = pytest.importorskip("virtvm.hypervisors.monitor")
pytest.importorskip("qemu.qmp")

GREETING = (b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""},'
            b' "capabilities": []}}\r\n')
# @ is the id of the command that is answered.
SAID = {
    "deep": b'{"return": ' + b"[" * 200000 + b"]" * 200000 + b', "id": @}\r\n', "deeper": b"[" * 1000000 + b"\r\n",
    "number": b'{"return": ' + b"9" * 100000 + b', "id": @}\r\n', "list": b"[1]\r\n", "nul": bytes(9) + b"\r\n",
    "encoding": b'{"return": "\xff", "id": @}\r\n', "odd id": b'{"return": {}, "id": [1]}\r\n',
    "endless": b"a" * (30 << 20), "nothing": b""}


def commands(peer):
    """What the client sends, message by message: nothing stands between them."""
    text = ""
    while True:
        data = peer.recv(65536)
        if not data:
            return
        text += data.decode()
        while text.strip():
            try:
                message, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            text = text[end:].lstrip()
            yield message


class Peer:
    """Greets, agrees on capabilities, and answers the first command so."""

    def __init__(self, path, said):
        self._said, self._listener = said, socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        with peer:
            try:
                self._talk(peer)
            except OSError:
                pass                    # it has hung up

    def _talk(self, peer):
        peer.sendall(GREETING)
        for number, message in enumerate(commands(peer)):
            answer = b'{"return": {}, "id": @}\r\n' if number == 0 else self._said
            peer.sendall(answer.replace(b"@", json.dumps(message.get("id")).encode()))
            if number == 1 and not self._said:
                return

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def users():
    return monitor._loop.users if monitor._loop else 0


@pytest.mark.parametrize("said", sorted(SAID))
def test_odd_answer_ends_the_monitor_and_all_that_served_it(tmp_path, said):
    path, served = str(tmp_path / "monitor"), users()
    peer = Peer(path, SAID[said])
    try:
        it = monitor.QMPMonitor("odd", path)
        with pytest.raises(monitor.MonitorError):
            it.cmd("query-status")
        assert not it.is_responsive()
        it.close()
        it.close()
    finally:
        peer.stop()
    assert users() == served and not it.is_connected()


@pytest.fixture
def peer(tmp_path):
    """A function: a monitor whose first command is answered so (bytes)."""
    peers, monitors = [], []

    def connect(said):
        path = str(tmp_path / ("monitor%d" % len(peers)))
        peers.append(Peer(path, said))
        monitors.append(monitor.QMPMonitor("it", path))
        return monitors[-1]
    yield connect
    for one in monitors:
        one.close()
    for one in peers:
        one.stop()


RETURN, ERROR = b'{"return": {"a": [1]}, "id": @}\r\n', b'{"error": {"class": "C", "desc": "no"}, "id": @}\r\n'


@pytest.mark.parametrize("said, message, answer", [
    (RETURN, {"execute": "x"}, {"return": {"a": [1]}}),
    (RETURN, {"execute": "x", "id": "mine"}, {"return": {"a": [1]}, "id": "mine"}),
    (RETURN, {"exec-oob": "x", "id": [7, None]}, {"return": {"a": [1]}, "id": [7, None]}),
    (ERROR, {"execute": "x", "arguments": {"b": 1}}, {"error": {"class": "C", "desc": "no"}}),
    (ERROR, {"execute": "x", "id": 1}, {"error": {"class": "C", "desc": "no"}, "id": 1}),
    (RETURN, {"nonsense": 1, "id": 2}, {"error": {"class": "GenericError",
                                                  "desc": "QMP input lacks member 'execute'"}, "id": 2})])
def test_response_is_whole_and_has_the_command_s_id(peer, said, message, answer):
    assert peer(said).cmd_obj(message) == answer
    assert peer(said).cmd_raw(json.dumps(message)) == answer


def test_greeting_is_qemu_s(peer):
    assert peer(RETURN).get_greeting() == json.loads(GREETING)


def test_other_users_of_qemu_qmp_are_heard(peer, caplog):
    """And what a monitor raises is not logged as well."""
    caplog.set_level(logging.DEBUG)
    it = peer(b"[1]\r\n")
    logger = logging.getLogger("qemu.qmp")
    assert logger.level == logging.NOTSET and logger.isEnabledFor(logging.DEBUG)
    logger.getChild("protocol").getChild("it").error("another's")
    with pytest.raises(monitor.MonitorError):
        it.cmd("query-status")
    it.close()
    said = [record for record in caplog.records if record.name.startswith("qemu") and record.levelno > logging.INFO]
    assert [record.getMessage() for record in said] == ["another's"]


def test_nothing_private_of_qemu_qmp_is_used():
    """It has no bound from above: what is private may go with its next release."""
    tree = ast.parse(inspect.getsource(monitor))
    private = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
               and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "loop", "_loop", "os"))]
    assert private == []
