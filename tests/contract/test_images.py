"""Image utilities: the commands they give, and real qemu-img on sound and damaged images."""

import json
import logging
import os
import shlex
import struct
import subprocess

import pytest
from hypothesis import given, strategies as st

from support.fakes import Calls, Namespace, RecordingParams
from virtvm import virt_vm
from virtvm.companions import error, virt_utils

QEMU_IMG = "/usr/bin/qemu-img"
WARN_CHECK = "qemu-img check error. Some bad data in the image may have gone unnoticed"
WARN_LEAK = ("Leaked clusters were noticed during image check. "
             "No data integrity problem was found though.")


@pytest.fixture(autouse=True)
def plain_programs(monkeypatch):
    """qemu-img hangs when a sanitizer's library is loaded before it."""
    monkeypatch.delenv("LD_PRELOAD", raising=False)


@pytest.fixture
def calls(monkeypatch):
    """utils.system and utils.run replaced by a record."""
    record = Calls()
    monkeypatch.setattr(virt_vm, "utils", Namespace(system=record.function("system", 0)))
    return record


def fake_check(monkeypatch, *results, info=0):
    """utils whose run() gives these results, one after the other; info is system()'s."""
    record, waiting = Calls(), list(results)

    def run(*args, **kwargs):
        record.append(("run", args, kwargs))
        return waiting.pop(0)

    monkeypatch.setattr(virt_vm, "utils", Namespace(run=run, system=record.function("system", info)))
    return record


def result(status=0, stdout="", stderr=""):
    return Namespace(exit_status=status, stdout=stdout, stderr=stderr)


HELP = result(stdout="commands: check info create")


@pytest.fixture
def image(tmp_path):
    """A file named like an image, for checks whose commands are fakes."""
    path = tmp_path / "image.qcow2"
    path.write_bytes(b"x")
    return str(path)


def kvm(**params):
    return dict({"vm_type": "kvm", "image_format": "qcow2", "qemu_img_binary": "/q"}, **params)


def messages(caplog, level):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


# Names

@pytest.mark.parametrize("params, name", [
    ({}, "/root/image.qcow2"),
    ({"image_name": "sub/disk"}, "/root/sub/disk.qcow2"),
    ({"image_name": "/abs/disk", "image_format": "raw"}, "/abs/disk.raw"),
    ({"image_name": "disk", "image_format": None}, "/root/disk.None"),
    ({"image_name": "disk", "image_raw_device": "yes", "image_format": "raw"}, "disk"),
    ({"image_raw_device": "yes"}, "image"),
    ({"image_name": "disk", "image_raw_device": "Yes"}, "/root/disk.qcow2"),
    ({"image_name": "disk", "image_raw_device": True}, "/root/disk.qcow2"),
])
def test_get_image_filename(params, name):
    assert virt_vm.get_image_filename(params, "/root") == name
    assert virt_vm.get_image_filename(params=params, root_dir="/root") == name


def test_get_image_filename_returns_raw_device_untouched():
    name = object()
    params = {"image_raw_device": "yes", "image_name": name}
    assert virt_vm.get_image_filename(params, None) is name


def test_get_image_filename_asks_get_alone():
    params = RecordingParams()
    virt_vm.get_image_filename(params, "/")
    assert params.gets == [("image_name", "image"), ("image_format", "qcow2"),
                           ("image_raw_device",)]


def test_get_path_is_looked_up_at_each_call(monkeypatch):
    monkeypatch.setattr(virt_utils, "get_path", lambda base, user: (base, user))
    assert virt_vm.get_image_filename({}, "/r") == ("/r", "image.qcow2")
    monkeypatch.setattr(virt_vm, "virt_utils", Namespace(get_path=lambda base, user: "other"))
    assert virt_vm.get_image_filename({}, "/r") == "other"


@pytest.mark.parametrize("call", [(), ({},), ({}, "/", 1)])
@pytest.mark.parametrize("name", ["get_image_filename", "create_image", "remove_image",
                                  "check_image"])
def test_wrong_arguments(name, call):
    with pytest.raises(TypeError):
        getattr(virt_vm, name)(*call)


# Creating: the command

@pytest.mark.parametrize("params, command", [
    ({}, "/r/qemu-img create -f qcow2 /r/image.qcow2 10G"),
    ({"qemu_img_binary": "/usr/bin/qemu-img", "image_format": "raw", "image_size": "5M"},
     "/usr/bin/qemu-img create -f raw /r/image.raw 5M"),
    ({"image_cluster_size": "65536"},
     "/r/qemu-img create -f qcow2 -o cluster_size=65536 /r/image.qcow2 10G"),
    ({"image_cluster_size": ""},
     "/r/qemu-img create -f qcow2 -o cluster_size= /r/image.qcow2 10G"),
    ({"image_cluster_size": 0}, "/r/qemu-img create -f qcow2 -o cluster_size=0 /r/image.qcow2 10G"),
    ({"image_cluster_size": None}, "/r/qemu-img create -f qcow2 /r/image.qcow2 10G"),
    ({"image_size": 1024}, "/r/qemu-img create -f qcow2 /r/image.qcow2 1024"),
])
def test_create_command_without_need_of_quotes(calls, params, command):
    filename = virt_vm.get_image_filename(params, "/r")
    assert virt_vm.create_image(params, "/r") == filename
    assert calls == [("system", (command,), {})]


@pytest.mark.parametrize("params, command", [
    ({"image_name": "a b"}, "/r/qemu-img create -f qcow2 '/r/a b.qcow2' 10G"),
    ({"image_name": "it's"}, """/r/qemu-img create -f qcow2 '/r/it'"'"'s.qcow2' 10G"""),
    ({"image_name": "$(x);`y`"}, "/r/qemu-img create -f qcow2 '/r/$(x);`y`.qcow2' 10G"),
    ({"image_size": "1G; reboot"}, "/r/qemu-img create -f qcow2 /r/image.qcow2 '1G; reboot'"),
    ({"image_cluster_size": "1 2"},
     "/r/qemu-img create -f qcow2 -o 'cluster_size=1 2' /r/image.qcow2 10G"),
    ({"qemu_img_binary": "/opt/my qemu/qemu-img"},
     "'/opt/my qemu/qemu-img' create -f qcow2 /r/image.qcow2 10G"),
    ({"qemu_img_binary": "/a=b"}, "'/a=b' create -f qcow2 /r/image.qcow2 10G"),
    ({"image_name": "\u00e9"}, "/r/qemu-img create -f qcow2 '/r/\u00e9.qcow2' 10G"),
])
def test_create_command_is_quoted(calls, params, command):
    virt_vm.create_image(params, "/r")
    assert calls == [("system", (command,), {})]


@pytest.mark.parametrize("name, word", [
    ("-x", "./-x"), ("json:{}", "'./json:{}'"), ("nbd:host:1", "./nbd:host:1"),
    ("a/b:c", "a/b:c"), ("/x:y", "/x:y"), ("./-x", "./-x"), ("", "''"), ("~/x", "'~/x'"),
])
def test_raw_name_is_never_an_option_or_protocol(calls, name, word):
    assert virt_vm.create_image({"image_raw_device": "yes", "image_name": name}, "/r") == name
    assert calls == [("system", ("/r/qemu-img create -f qcow2 %s 10G" % word,), {})]


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1))
def test_names_are_quoted_as_shlex_does(name):
    record = Calls()
    saved = virt_vm.utils
    virt_vm.utils = Namespace(system=record.function("system"))
    try:
        virt_vm.create_image({"image_name": "/" + name}, "/r")
    finally:
        virt_vm.utils = saved
    command = record[0][1][0]
    assert command == "/r/qemu-img create -f qcow2 %s 10G" % shlex.quote("/%s.qcow2" % name)


def test_create_passes_exceptions_on(monkeypatch):
    failure = error.CmdError("x", None)
    monkeypatch.setattr(virt_vm, "utils", Namespace(system=Calls().function("system", failure)))
    with pytest.raises(error.CmdError) as caught:
        virt_vm.create_image({}, "/r")
    assert caught.value is failure


def test_create_order_of_gets(calls):
    params = RecordingParams()
    virt_vm.create_image(params, "/r")
    assert params.gets == [
        ("qemu_img_binary", "qemu-img"), ("image_format", "qcow2"), ("image_cluster_size", None),
        ("image_name", "image"), ("image_format", "qcow2"), ("image_raw_device",),
        ("image_size", "10G")]


@pytest.mark.parametrize("function", ["create_image", "remove_image", "check_image"])
def test_get_image_filename_is_looked_up(monkeypatch, calls, function):
    asked = []

    def get_image_filename(params, root_dir):
        asked.append((params, root_dir))
        return "/nowhere/at-all"

    monkeypatch.setattr(virt_vm, "get_image_filename", get_image_filename)
    params = {"vm_type": "kvm"}
    getattr(virt_vm, function)(params, "/r")
    assert asked == [(params, "/r")]


# Removing

def test_remove_image(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "image.qcow2"
    path.touch()
    assert virt_vm.remove_image({}, str(tmp_path)) is None
    assert not path.exists()
    assert virt_vm.remove_image({}, str(tmp_path)) is None
    assert messages(caplog, logging.DEBUG) == [
        "Removing image file %s" % path, "Removing image file %s" % path,
        "Image file %s not found" % path]


def test_remove_image_that_cannot_be_removed(tmp_path):
    (tmp_path / "image.qcow2").mkdir()
    with pytest.raises(OSError):
        virt_vm.remove_image({}, str(tmp_path))


def test_os_is_looked_up(monkeypatch):
    record = Calls()
    path = Namespace(exists=record.function("exists", True))
    monkeypatch.setattr(virt_vm, "os", Namespace(path=path, unlink=record.function("unlink")))
    virt_vm.remove_image({}, "/r")
    assert record == [("exists", ("/r/image.qcow2",), {}), ("unlink", ("/r/image.qcow2",), {})]


# Checking: calls, texts, decisions

def test_check_calls(monkeypatch, image, tmp_path):
    record = fake_check(monkeypatch, HELP, result(0))
    assert virt_vm.check_image(kvm(), str(tmp_path)) is None
    assert record == [("run", ("/q",), {"ignore_status": True}),
                      ("system", ("/q info %s" % image,), {}),
                      ("run", ("/q check %s" % image,), {"ignore_status": True})]


def test_check_order_of_gets(monkeypatch, image, tmp_path):
    fake_check(monkeypatch, HELP, result(0))
    params = RecordingParams(**kvm())
    virt_vm.check_image(params, str(tmp_path))
    assert params.gets == [
        ("vm_type",), ("image_name", "image"), ("image_format", "qcow2"), ("image_raw_device",),
        ("qemu_img_binary", "qemu-img"), ("image_format",)]


def test_check_asks_for_help_when_bare_call_says_nothing(monkeypatch, image, tmp_path):
    record = fake_check(monkeypatch, result(1), HELP, result(0))
    virt_vm.check_image(kvm(), str(tmp_path))
    assert record[1] == ("run", ("/q --help",), {"ignore_status": True})
    assert record[3] == ("run", ("/q check %s" % image,), {"ignore_status": True})


@pytest.mark.parametrize("stdout, missing", [
    ("check", ["info"]), ("info", ["check"]), ("", ["check", "info"])])
def test_check_is_skipped_when_unsupported(monkeypatch, image, tmp_path, caplog, stdout, missing):
    record = fake_check(monkeypatch, result(stdout=stdout), result(stdout=stdout))
    virt_vm.check_image(kvm(), str(tmp_path))
    assert messages(caplog, logging.ERROR) == [
        "qemu-img does not support '%s', skipping check" % word for word in missing]
    assert len(record) == (2 if stdout == "" else 1)


def test_check_words_are_substrings(monkeypatch, image, tmp_path):
    record = fake_check(monkeypatch, result(stdout="uncheckedxinformation"), result(0))
    virt_vm.check_image(kvm(), str(tmp_path))
    assert len(record) == 3


@pytest.mark.parametrize("status, raised", [
    (0, None), (1, error.TestWarn), (True, error.TestWarn), (2, virt_vm.VMImageCheckError),
    (2.0, virt_vm.VMImageCheckError), (3, error.TestWarn), (4, None), (None, None), ("1", None),
    (-9, None)])
def test_check_status(monkeypatch, image, tmp_path, status, raised):
    fake_check(monkeypatch, HELP, result(status, "out", "err"))
    if raised is None:
        assert virt_vm.check_image(kvm(), str(tmp_path)) is None
        return
    with pytest.raises(raised) as caught:
        virt_vm.check_image(kvm(), str(tmp_path))
    text = {1: WARN_CHECK, 2: "Errors found on image: %r" % image, 3: WARN_LEAK}[status]
    assert str(caught.value) == text


@pytest.mark.parametrize("status, logged", [(1, True), (2, True), (3, False), (0, False)])
def test_check_logs_output_line_by_line(monkeypatch, image, tmp_path, caplog, status, logged):
    fake_check(monkeypatch, HELP,
               result(status, "a\nb\r\nc\rd\x0be\x0c\x1c\x85\u2028f\n\ng", "x\n"))
    try:
        virt_vm.check_image(kvm(), str(tmp_path))
    except (error.TestWarn, virt_vm.VMImageCheckError):
        pass
    lines = ["a", "b", "c", "d\x0be\x0c\x1c\x85\u2028f", "", "g"]
    expected = ["[stdout] " + line for line in lines] + ["[stderr] x"]
    assert messages(caplog, logging.ERROR) == (expected if logged else [])


def test_check_takes_bytes(monkeypatch, image, tmp_path, caplog):
    fake_check(monkeypatch, HELP, result(1, b"a\x0bb\nc", b""))
    with pytest.raises(error.TestWarn):
        virt_vm.check_image(kvm(), str(tmp_path))
    assert messages(caplog, logging.ERROR) == ["[stdout] b'a\\x0bb'", "[stdout] b'c'"]


def test_check_logs_command_error_of_info(monkeypatch, image, tmp_path, caplog):
    record = fake_check(monkeypatch, HELP, result(0), info=error.CmdError("x", None))
    virt_vm.check_image(kvm(), str(tmp_path))
    assert messages(caplog, logging.ERROR) == ["Error getting info from image %s" % image]
    assert len(record) == 3


def test_check_passes_other_errors_of_info_on(monkeypatch, image, tmp_path):
    record = fake_check(monkeypatch, HELP, info=error.TestError("other"))
    with pytest.raises(error.TestError, match="other"):
        virt_vm.check_image(kvm(), str(tmp_path))
    assert len(record) == 2


def test_error_classes_are_looked_up_when_something_was_raised(monkeypatch, image, tmp_path):
    fake_check(monkeypatch, HELP, result(0))
    monkeypatch.setattr(virt_vm, "error", None)
    virt_vm.check_image(kvm(), str(tmp_path))
    fake_check(monkeypatch, HELP, result(0), info=KeyError("x"))
    monkeypatch.setattr(virt_vm, "error", Namespace(CmdError=KeyError))
    virt_vm.check_image(kvm(), str(tmp_path))
    monkeypatch.setattr(virt_vm, "VMImageCheckError", lambda filename: OSError(filename))
    fake_check(monkeypatch, HELP, result(2))
    with pytest.raises(OSError):
        virt_vm.check_image(kvm(), str(tmp_path))


def test_raising_what_is_no_exception(monkeypatch, image, tmp_path):
    monkeypatch.setattr(virt_vm, "VMImageCheckError", str)
    fake_check(monkeypatch, HELP, result(2))
    with pytest.raises(TypeError, match="BaseException"):
        virt_vm.check_image(kvm(), str(tmp_path))


@pytest.mark.parametrize("vm_type", [None, "xen", "KVM", ""])
def test_check_acts_for_kvm_alone(monkeypatch, vm_type, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(virt_vm, "utils", None)
    monkeypatch.setattr(virt_vm, "virt_utils", None)
    params = RecordingParams(vm_type=vm_type)
    assert virt_vm.check_image(params, "/r") is None
    assert params.gets == [("vm_type",)]
    assert caplog.records == []


def test_check_of_missing_file(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    record = fake_check(monkeypatch)
    virt_vm.check_image(kvm(image_format="raw"), str(tmp_path))
    path = tmp_path / "image.raw"
    assert record == []
    assert messages(caplog, logging.DEBUG) == ["Checking image file %s" % path,
                                               "Image file %s not found, skipping check" % path]


def test_check_of_other_format(monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    record = fake_check(monkeypatch)
    path = tmp_path / "image.raw"
    path.touch()
    virt_vm.check_image(kvm(image_format="raw"), str(tmp_path))
    assert record == []
    assert messages(caplog, logging.DEBUG)[1:] == ["Image file %s not qcow2, skipping check" % path]


def test_check_takes_unset_format_for_qcow2(monkeypatch, image, tmp_path):
    record = fake_check(monkeypatch, HELP, result(0))
    virt_vm.check_image({"vm_type": "kvm", "qemu_img_binary": "/q"}, str(tmp_path))
    assert len(record) == 3


# With the real qemu-img

def real(name, **params):
    return dict(kvm(qemu_img_binary=QEMU_IMG, image_name=str(name), image_size="4M"), **params)


def qemu_info(path):
    done = subprocess.run([QEMU_IMG, "info", "--output=json", "-f", "qcow2", str(path)],
                          stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [
    "plain", "two words", "it's", 'double"quote', "semi;colon", "$(touch injected)", "`id`",
    "-leading", "json:{}", "nbd:localhost:1", "new\nline", "\u00e9\u4e2d", "a,b=c", "*", "back\\slash",
])
@pytest.mark.parametrize("relative", [False, True])
def test_real_image_with_any_name(tmp_path, monkeypatch, caplog, name, relative):
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    params = real(name, image_cluster_size="4096")
    root_dir = "" if relative else str(tmp_path)
    filename = virt_vm.create_image(params, root_dir)
    assert os.listdir(tmp_path) == [name + ".qcow2"]
    info = qemu_info(tmp_path / (name + ".qcow2"))
    assert (info["format"], info["virtual-size"], info["cluster-size"]) == ("qcow2", 4 << 20, 4096)
    assert virt_vm.check_image(params, root_dir) is None
    assert messages(caplog, logging.ERROR) == []
    virt_vm.remove_image(params, root_dir)
    assert os.listdir(tmp_path) == []
    assert filename == os.path.join(root_dir, name + ".qcow2")


def test_real_qemu_img_at_a_path_with_blanks(tmp_path):
    binary = tmp_path / "my qemu-img; x"
    binary.symlink_to(QEMU_IMG)
    params = real("disk", qemu_img_binary=str(binary))
    virt_vm.create_image(params, str(tmp_path))
    assert virt_vm.check_image(params, str(tmp_path)) is None


def test_real_create_failure_says_what_failed(tmp_path):
    with pytest.raises(error.CmdError) as caught:
        virt_vm.create_image(real("disk", image_size="much"), str(tmp_path))
    assert "qemu-img create" in str(caught.value) and "much" in str(caught.value)
    with pytest.raises(error.CmdError):
        virt_vm.create_image(real("disk", image_format="noformat"), str(tmp_path))
    with pytest.raises(error.CmdError):
        virt_vm.create_image(real("no/such/folder/disk"), str(tmp_path))


def read_u64(f, offset):
    f.seek(offset)
    return struct.unpack(">Q", f.read(8))[0]


def set_refcount(path, cluster, count):
    """Write a cluster's reference count (16 bits each by default)."""
    with open(path, "r+b") as f:
        table = read_u64(f, 48)
        block = read_u64(f, table)
        f.seek(block + 2 * cluster)
        f.write(struct.pack(">H", count))


@pytest.fixture
def disk(tmp_path):
    """A real qcow2 image with some data: (params, root_dir, path)."""
    params = real("disk")
    path = virt_vm.create_image(params, str(tmp_path))
    subprocess.run([QEMU_IMG.replace("qemu-img", "qemu-io"), "-f", "qcow2", "-c",
                    "write -P 7 0 256k", path], check=True, stdout=subprocess.DEVNULL)
    return params, str(tmp_path), path


def real_status(path):
    return subprocess.run([QEMU_IMG, "check", path], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def test_real_sound_image(disk, caplog):
    params, root_dir, path = disk
    assert real_status(path) == 0
    assert virt_vm.check_image(params, root_dir) is None
    assert messages(caplog, logging.ERROR) == []


def test_real_leaked_clusters(disk):
    params, root_dir, path = disk
    clusters = -(-os.path.getsize(path) // 65536)
    os.truncate(path, (clusters + 1) * 65536)
    set_refcount(path, clusters, 1)
    assert real_status(path) == 3
    with pytest.raises(error.TestWarn) as caught:
        virt_vm.check_image(params, root_dir)
    assert str(caught.value) == WARN_LEAK


def test_real_corruption(disk, caplog):
    params, root_dir, path = disk
    with open(path, "rb") as f:
        l1_table = read_u64(f, 40)
    set_refcount(path, l1_table // 65536, 0)
    assert real_status(path) == 2
    with pytest.raises(virt_vm.VMImageCheckError) as caught:
        virt_vm.check_image(params, root_dir)
    assert caught.value.filename == path
    assert any("refcount=0" in line for line in messages(caplog, logging.ERROR))


def test_real_unreadable_header(disk, caplog):
    params, root_dir, path = disk
    with open(path, "r+b") as f:
        f.seek(4)
        f.write(struct.pack(">I", 99))          # the format's version
    assert real_status(path) == 1
    with pytest.raises(error.TestWarn) as caught:
        virt_vm.check_image(params, root_dir)
    assert str(caught.value) == WARN_CHECK
    logged = messages(caplog, logging.ERROR)
    assert "Error getting info from image %s" % path in logged
    assert any(line.startswith("[stderr]") and "version" in line for line in logged)
