"""Disk images: what a guest writes into its disk never decides what QEMU opens."""

import argparse
import struct
import subprocess

import pytest
from virtvm import config, disk_header
from virtvm.hypervisors import qemu_command

FORMATS = {"qcow2": [], "qcow": [], "vmdk": [], "vdi": [], "vhdx": [], "vpc": [], "qed": [], "raw": []}


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def options(*words):
    parser = argparse.ArgumentParser()
    config.add_arguments(parser.add_argument)
    return parser.parse_args([str(word) for word in words])


def load(*words):
    return config.load(options("--image", *words)).params["image_format"]


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"of the host" + bytes(2 ** 20))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_qemu(tmp_path, name):
    path = tmp_path / ("disk." + name)
    qemu_img("create", "-q", "-f", name, path, "1M")
    assert load(path) == name
    assert disk_header.by_header(path) in (name, "raw" if name == "vpc" else name)
    assert disk_header.other_files(path, name) == []


def test_guest_that_writes_a_header_gets_nothing(tmp_path, secret):
    """A raw disk whose guest made it a qcow2 with a file of the host's as backing file."""
    disk = tmp_path / "disk.raw"
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", disk)
    shown = subprocess.run(["qemu-io", "-c", "read -v 0 16", disk], stdout=subprocess.PIPE, check=True).stdout
    assert b"of.the.host" in shown               # what a QEMU that believes it would do
    for name in ("disk.raw", "disk.img", "disk", "disk.bin"):
        path = disk.rename(tmp_path / name)
        with pytest.raises(config.ConfigError, match="is raw, its first bytes that it is qcow2: say which"):
            load(path)
        assert load(path, "--image-format", "raw") == "raw"
        assert load(path, "--param", "image_format=raw") == "raw"
        with pytest.raises(config.ConfigError, match="open '%s', too" % secret):
            load(path, "--image-format", "qcow2")
        disk = path.rename(tmp_path / "disk.raw")


@pytest.mark.parametrize("suffix", ["qcow2", "vmdk", "vdi", "qed", "vhdx"])
def test_suffix_that_the_header_denies(tmp_path, suffix):
    path = tmp_path / ("disk." + suffix)
    path.write_bytes(bytes(4096))
    with pytest.raises(config.ConfigError, match="is %s, its first bytes that it is raw" % suffix):
        load(path)
    with pytest.raises(config.ConfigError, match="is no %s image" % suffix):
        load(path, "--image-format", suffix)


@pytest.mark.parametrize("format", ["qcow2", "qcow", "qed", "vmdk"])
def test_backing_files_are_named_or_refused(tmp_path, format):
    base, top = tmp_path / "base.vmdk", tmp_path / ("top." + format)
    qemu_img("create", "-q", "-f", "vmdk" if format == "vmdk" else "raw", base, "1M")
    qemu_img("create", "-q", "-f", format, "-b", "base.vmdk", "-F", "vmdk" if format == "vmdk" else "raw", top)
    with pytest.raises(config.ConfigError, match="open 'base.vmdk', too: allow that by --image-backing"):
        load(top)
    with pytest.raises(config.ConfigError, match="allow that"):
        load(top, "--image-backing", tmp_path / "another")
    assert load(top, "--image-backing", base) == format


def test_every_link_of_a_chain_is_named(tmp_path, secret):
    middle, top = tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", middle)
    qemu_img("create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
    with pytest.raises(config.ConfigError, match="middle.qcow2: it would have QEMU open '%s'" % secret):
        load(top, "--image-backing", middle)
    assert load(top, "--image-backing", middle, "--image-backing", secret) == "qcow2"


def test_data_in_another_file(tmp_path, secret):
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "data_file=%s,data_file_raw=on" % secret, path, "1M")
    with pytest.raises(config.ConfigError, match="a file for its data"):
        load(path)


def test_parts_of_a_vmdk(tmp_path, secret):
    path = tmp_path / "disk.vmdk"
    path.write_text('# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "%s" 0\n' % secret)
    with pytest.raises(config.ConfigError, match="open '%s'" % secret):
        load(path)


DESCRIPTOR = 'version=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'


def opened_by_qemu(path, format, where):
    """What QEMU finds at the start of that disk."""
    qemu_img("convert", "-f", format, "-O", "raw", path, where)
    return where.read_bytes()[:11]


@pytest.mark.parametrize("part", ['RW +2048 FLAT "%s" 0', 'RW 2048FLAT "%s" 0', 'RW\t2048\tFLAT "%s" 0',
                                  'RW\n2048\nFLAT\n"%s" 0', ' RW 2048 FLAT"%s" 0'])
def test_parts_of_a_vmdk_as_qemu_reads_them(tmp_path, secret, part):
    path = tmp_path / "disk.vmdk"
    path.write_text("# Disk DescriptorFile\n" + DESCRIPTOR + part % secret + "\n")
    with pytest.raises(config.ConfigError, match="open '%s'" % secret):
        load(path)


def test_descriptor_behind_the_first_mebibyte(tmp_path, secret):
    path = tmp_path / "disk.vmdk"
    header = b"KDMV" + struct.pack("<IIQQQQ", 1, 3, 0, 128, 4096, 20)
    with open(path, "wb") as f:
        f.write(header.ljust(512, b"\0") + b"CID=fffffffe\nparentCID=ffffffff\n")
        f.seek(4096 * 512)
        f.write((DESCRIPTOR + 'RW 2048 FLAT "%s" 0\n' % secret).encode())
        f.truncate(4 << 20)
    assert opened_by_qemu(path, "vmdk", tmp_path / "out") == b"of the host"
    with pytest.raises(config.ConfigError, match="open '%s'" % secret):
        load(path)


@pytest.mark.parametrize("before", [b"#", b"x", b"ddb."])
def test_parent_of_a_vmdk_anywhere(tmp_path, before):
    base, path = tmp_path / "base.vmdk", tmp_path / "disk.vmdk"
    qemu_img("create", "-q", "-f", "vmdk", base, "1M")
    qemu_img("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", path)
    whole = path.read_bytes()
    at = whole.index(b"parentFileNameHint")
    end = whole.index(b"\0", at)
    path.write_bytes(whole[:at] + before + whole[at:end] + whole[end + len(before):])
    with pytest.raises(config.ConfigError, match="open 'base.vmdk'"):
        load(path)
    assert load(path, "--image-backing", base) == "vmdk"


def overlay_with(path, name, format="raw"):
    """A qcow2 whose backing file is called that (bytes)."""
    stand_in = "X" * len(name)
    qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", stand_in, "-F", format, path, "1M")
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), name))


@pytest.mark.parametrize("start", ["", "vhdxfile\n", "conectix\n", "# \n"])
def test_backing_file_that_is_a_descriptor(tmp_path, secret, start):
    """A disk that a guest may have written, and a file above it that says it is a vmdk, or does not say."""
    base, top = tmp_path / "base.img", tmp_path / "top.qcow2"
    base.write_text(start + DESCRIPTOR + 'RW 2048 FLAT "%s" 0\n' % secret)
    overlay_with(top, b"base.img", "vmdk")
    assert opened_by_qemu(top, "qcow2", tmp_path / "out") == b"of the host"
    with pytest.raises(config.ConfigError, match="open '%s'" % secret):
        load(top, "--image-backing", base)


@pytest.mark.parametrize("name", [
    b"nbd://127.0.0.1:1/../../base.img", b"nbd:unix:x/../base.img", b"fat:x/../base.img", b"file:x/../base.img",
    b'json:{"driver":"null-co"}/../base.img', b"http://a.example/../../base.img"])
def test_backing_file_that_is_no_path(tmp_path, name):
    base, top = tmp_path / "base.img", tmp_path / "top.qcow2"
    base.write_bytes(bytes(1 << 20))
    overlay_with(top, name)
    with pytest.raises(config.ConfigError, match="allow that"):
        load(top, "--image-backing", base)


def test_name_that_ends_early(tmp_path, secret):
    base, top = tmp_path / "base.img", tmp_path / "top.qcow2"
    base.write_bytes(bytes(1 << 20))
    overlay_with(top, str(secret).encode() + b"\0/../base.img")
    assert opened_by_qemu(top, "qcow2", tmp_path / "out") == b"of the host"
    with pytest.raises(config.ConfigError, match="open '%s'" % secret):
        load(top, "--image-backing", base)


@pytest.mark.parametrize("size", range(0, 120, 7))
@pytest.mark.parametrize("format", ["qcow2", "qcow", "qed", "vmdk", "vdi"])
def test_half_a_header(tmp_path, format, size):
    whole, path = tmp_path / "whole", tmp_path / ("disk." + format)
    qemu_img("create", "-q", "-f", format, whole, "1M")
    path.write_bytes(whole.read_bytes()[:size])
    try:
        assert load(path) == format
    except config.ConfigError:
        pass


def test_qemu_is_always_told_a_format():
    """No drive is left to QEMU's own guess."""
    from virtvm.companions.params import Params
    setup = qemu_command.Setup("vm1", "/x", monitors=[], console=None)
    for image_format in (None, "raw", "qcow2"):
        params = Params(images="a b", cdroms="c", cdrom_c="x.iso", image_name="disk", drive_format_b="scsi")
        if image_format:
            params["image_format"] = image_format
        argv = qemu_command.make_argv(params, setup)
        drives = [argv[n + 1] for n, word in enumerate(argv) if word == "-drive"]
        assert len(drives) == 3 and all(",format=" in drive for drive in drives)


def test_options_of_the_account(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTVM_PASSWORD", "of the environment")
    (tmp_path / "word").write_text("of the file\n")
    (tmp_path / "key").touch()
    (tmp_path / "run.toml").write_text("[params]\npassword = 'of the params'\nusername = 'u'\n")

    def params(*words):
        return config.load(options(*words)).params_for("a")
    assert params()["password"] == "of the environment"
    assert params("--config", tmp_path / "run.toml")["password"] == "of the params"
    found = params("--config", tmp_path / "run.toml", "--password-file", tmp_path / "word", "--user", "v", "-i",
                   tmp_path / "key")
    assert (found["password"], found["username"]) == ("of the file", "v")
    assert found["ssh_identity_file"] == str(tmp_path / "key")
    assert params("--password-file", tmp_path / "word", "--param", "password=x")["password"] == "x"
    for words in (["--password-file", tmp_path / "none"], ["-i", tmp_path / "none"]):
        with pytest.raises(config.ConfigError, match="none"):
            params(*words)
    monkeypatch.delenv("VIRTVM_PASSWORD")
    assert params()["password"] == ""
