"""The engine's Session as a Python object: the collector's view, and other threads'."""

import ctypes
import os
import threading

import pytest
from support.rss_server import RssServer
from virtvm import _session
from virtvm.companions import aexpect

TP_CLEAR = 51           # Py_tp_clear, of the stable ABI


def clear_as_the_collector_does(obj):
    """Run the object's tp_clear, if it has one: what is collected with it may use it afterwards."""
    slot = ctypes.pythonapi.PyType_GetSlot
    slot.restype, slot.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
    address = slot(type(obj), TP_CLEAR)
    if address:
        ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object)(address)(obj)


def test_session_that_is_being_collected_is_still_one():
    session = _session.open_pty([b"/bin/echo", b"hello"], [])
    clear_as_the_collector_does(session)
    session.wait(10.0)
    with pytest.raises(_session.EngineError):
        session.command(b"true", lambda line: True, timeout=1.0)
    assert b"hello" in session.output()
    session.close()


def test_rss_connection_that_is_being_collected_is_still_one(tmp_path):
    with RssServer(str(tmp_path)) as server:
        client = _session.open_rss("127.0.0.1", server.port, "get")
        clear_as_the_collector_does(client)
        client.close()
        with pytest.raises(_session.EngineError):
            client.get(b"C:\\nowhere", os.fsencode(tmp_path))


def test_prompts_are_read_while_another_thread_runs_commands():
    session = aexpect.ShellSession("env -i 'PS1=p\\#$ ' TERM=dumb bash --norc --noprofile", prompt=r"\$\s*$")
    strange, over = [], threading.Event()

    def look():
        while not over.is_set():
            strange.extend(shown for shown, _ in session._engine.prompts
                           if not (shown.startswith(b"p") and shown.endswith(b"$ ")))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for number in range(300):
            assert session.cmd("echo %d" % number) == "%d\n" % number
    finally:
        over.set()
        looker.join()
        session.close()
    assert strange == []
