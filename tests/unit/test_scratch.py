"""Temporary files and folders are gone wherever an exception comes, as a signal handler's may."""

import contextlib
import gc
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import weakref
from concurrent import futures

import pytest
from virtvm import scratch
from virtvm.companions import transfer
from virtvm.guest import commands

# Where the exception comes.
HERE = {module.__file__ for module in (scratch, transfer, commands, contextlib, tempfile, weakref)}


class Alarm(OSError):
    """As TimeoutError, which a handler may well raise; what ignores errors must not take it."""


class At:
    """Raises Alarm before one of the instructions of the code that this is about."""

    def __init__(self, instant):
        self.left = instant

    def __call__(self, frame, event, arg):
        if frame.f_code.co_filename not in HERE:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left < 0:
                raise Alarm
        return self


def read_file(folder):
    transfer.read_file("host", "scp", "root", "", 22, "/etc/fstab")


def scp_between_remotes(folder):
    transfer.scp_between_remotes("one", "other", 22, "", "", "root", "root", "/etc", "/tmp")


def whole(folder):
    with commands.whole(os.path.join(folder, "whole")) as path, open(path, "w") as f:
        f.write("content")


def write_whole(folder):
    scratch.write_whole(os.path.join(folder, "whole"), b"content")


def a_folder(folder):
    with scratch.Folder("virtvm-", folder=folder) as path:
        os.makedirs(os.path.join(path, "a", "b"))


@contextlib.contextmanager
def no_collection():
    """What earlier tests left to the collector has finalizers, too: one that is struck is not what this is about."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The temporary folder; copies bring what is there at once."""
    def copy(target):
        with open(target, "w") as f:
            f.write("content")

    class Transfer:
        def __init__(self, *args, **keywords):
            pass

        def run(self, sources, target, text):
            assert all(os.path.exists(source) for source in sources)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(transfer, "copy_files_from", lambda *args, **keywords: copy(args[6]))
    monkeypatch.setattr(transfer, "scp_from_remote", lambda *args, **keywords: copy(os.path.join(args[5], "etc")))
    monkeypatch.setattr(transfer, "_Transfer", Transfer)
    return str(tmp_path)


def strike_everywhere(call, folder):
    """(how many instructions there were, at which of them something was left)."""
    wrong, instant, done = [], 0, False
    sys.settrace(At(sys.maxsize))       # what is imported and set up once: CPython 3.12 tells opcodes then only
    try:
        call(folder)
    finally:
        sys.settrace(None)
    while not done:
        try:
            sys.settrace(At(instant))
            call(folder)
            done = True
        except Alarm:
            pass
        finally:
            sys.settrace(None)
        for name in os.listdir(folder):
            if name == "whole":
                os.unlink(os.path.join(folder, name))
            else:
                wrong.append(instant)
                shutil.rmtree(os.path.join(folder, name))
        instant += 1
    return instant, wrong


@pytest.mark.parametrize("call", [read_file, scp_between_remotes, whole, write_whole, a_folder],
                         ids=lambda call: call.__name__)
def test_an_exception_at_any_instruction_leaves_nothing(call, folder):
    # In a thread: CPython does not end an except clause whose last instruction is struck, so that all that
    # its thread raises later would have a context.
    with no_collection(), futures.ThreadPoolExecutor(1) as pool:
        instant, wrong = pool.submit(strike_everywhere, call, folder).result()
    assert instant > 100 and wrong == []


def test_what_nobody_lets_go_is_gone_at_the_end(tmp_path):
    """Nor does a forked process, which ends as this one does, take it away."""
    program = ("import os, sys\nfrom virtvm import scratch\n"
               "one = scratch.Folder('one-', folder=sys.argv[1])\ntwo = scratch.File('two-', folder=sys.argv[1])\n"
               "if os.fork() == 0:\n    sys.exit()\n"
               "os.wait()\nprint(sorted(os.listdir(sys.argv[1])))")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, check=True, text=True)
    assert "one-" in done.stdout and "two-" in done.stdout and os.listdir(tmp_path) == []


def test_what_is_there_already_is_somebody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "name", lambda *args: str(tmp_path / "taken"))
    for kind in (scratch.Folder, scratch.File):
        (tmp_path / "taken").mkdir()
        with pytest.raises(FileExistsError):
            kind("")
        (tmp_path / "taken").rmdir()    # it is there


def test_folders_that_their_owner_may_not_write_to_are_removed(tmp_path):
    """root may: as another user."""
    program = ("import os, sys\nos.chdir('/')\nfrom virtvm import scratch\n"
               "if os.getuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
               "with scratch.Folder('one-', folder=sys.argv[1]) as path:\n"
               "    os.makedirs(path + '/a/b')\n    os.symlink('/etc', path + '/a/link')\n"
               "    os.chmod(path + '/a/b', 0)\n    os.chmod(path + '/a', 0o500)\n    os.chmod(path, 0o500)")
    os.chmod(tmp_path, 0o777)
    for above in list(tmp_path.parents)[:3]:
        if os.stat(above).st_uid == os.getuid() and above != tmp_path.anchor and len(above.parts) > 2:
            os.chmod(above, 0o755)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [0.0, 3.0])
def test_what_was_cut_short_is_tried_once_more_for_a_while(tmp_path, monkeypatch, caplog, limit):
    """A tree of a guest's may have any size: Ctrl-C while it is removed comes out, however large it is."""
    monkeypatch.setattr(scratch, "_LAST_TRY", limit)
    unlink = os.unlink

    def struck(path):
        monkeypatch.setattr(os, "unlink", unlink)
        raise KeyboardInterrupt

    def fill_and_remove():
        with scratch.Folder("virtvm-", folder=str(tmp_path)) as path:
            os.makedirs(os.path.join(path, "a"))
            for name in "a/x", "a/y", "b":
                with open(os.path.join(path, name), "w"):
                    pass
            monkeypatch.setattr(os, "unlink", struck)

    with pytest.raises(KeyboardInterrupt) as info:
        fill_and_remove()
    del info                            # its frames hold the folder's object
    gc.collect()
    left = os.listdir(tmp_path)
    assert len(left) == (limit == 0) and all(str(tmp_path / name) in caplog.text for name in left)


@pytest.mark.parametrize("forgiven", [(), OSError])
def test_a_folder_that_is_none_is_not_gone_into(tmp_path, forgiven):
    """A link to a folder of another's, a file, and what is not there."""
    (tmp_path / "other").mkdir(0o750)
    (tmp_path / "other" / "kept").touch()
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "file").touch(0o640)
    for name in ("link", "file", "none"):
        with contextlib.suppress(OSError) if forgiven == () else contextlib.nullcontext():
            scratch.remove_folder(str(tmp_path / name), forgiven=forgiven)
            assert forgiven
    assert (tmp_path / "other" / "kept").exists() and (tmp_path / "file").exists()
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o750


def test_what_cannot_be_removed_is_left_and_the_rest_is_not(tmp_path, monkeypatch):
    for name in ("a", "in/b", "in/stays", "z"):
        (tmp_path / "f" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / name).touch()
    unlink = os.unlink

    def refuses(path):
        if path.endswith("stays"):
            raise PermissionError(1, "not permitted", path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuses)
    with pytest.raises(PermissionError):
        scratch.remove_folder(str(tmp_path / "f"))
    scratch.remove_folder(str(tmp_path / "f"), forgiven=OSError)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["f", "f/in", "f/in/stays"]


def test_nothing_else_removes_folders():
    root = pathlib.Path(scratch.__file__).parent
    assert [path.name for path in root.rglob("*.py") if "shutil.rmtree(" in path.read_text()] == ["scratch.py"]
