"""What the builder of the guest with systemd does in place of maintainer scripts."""

import os
import re
import shutil
import stat
import subprocess

import pytest
from virtvm.guest import commands, full


def make(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_usr_is_merged_where_packages_have_both(tmp_path):
    make(tmp_path, bin__sh="sh", usr__bin__env="env", lib__systemd__one="1", usr__lib__systemd__two="2", lib64__ld="ld")
    (tmp_path / "bin" / "link").symlink_to("sh")
    full._merge_usr(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["bin", "lib", "lib64", "usr"]
    assert os.readlink(tmp_path / "bin") == "usr/bin" and os.readlink(tmp_path / "lib64") == "usr/lib64"
    assert sorted(os.listdir(tmp_path / "usr" / "bin")) == ["env", "link", "sh"]
    assert sorted(os.listdir(tmp_path / "lib" / "systemd")) == ["one", "two"]
    full._merge_usr(str(tmp_path))
    assert (tmp_path / "bin" / "sh").read_text() == "sh"


def test_unit_is_enabled_as_its_section_says(tmp_path):
    make(tmp_path, usr__lib__systemd__system__x="[Service]\nExecStart=/x\n[Install]\nWantedBy=a.target b.target\n"
         "Alias=y\nRequiredBy=c.target\n")
    full._enable(str(tmp_path), "x")
    top = tmp_path / "etc" / "systemd" / "system"
    found = {str(path.relative_to(top)): os.readlink(path) for path in top.rglob("*") if path.is_symlink()}
    assert found == dict.fromkeys(["a.target.wants/x", "b.target.wants/x", "c.target.requires/x", "y"],
                                  "/lib/systemd/system/x")


def test_accounts_are_base_passwd_s_and_those_that_packages_ask_for(tmp_path):
    make(tmp_path, **{"usr__share__base-passwd__passwd.master": "root:*:0:0:root:/root:/bin/bash\n",
                      "usr__share__base-passwd__group.master": "root:*:0:\nrender:*:5:\n",
                      "usr__lib__sysusers.d__a.conf": "# no\nu one - \"One\"\ng two 7 -\nm one two\n"})
    full._make_accounts(str(tmp_path))
    read = {name: (tmp_path / "etc" / name).read_text() for name in ("passwd", "group", "shadow", "gshadow")}
    users = [line.split(":") for line in read["passwd"].splitlines()]
    groups = [line.split(":") for line in read["group"].splitlines()]
    assert {"root", "sshd", "one", "two", "systemd-network"} <= {user[0] for user in users}
    for found in users, groups:
        assert len({line[0] for line in found}) == len(found) == len({line[2] for line in found})
        assert {line[1] for line in found} == {"x"}
    assert [line.split(":")[0] for line in read["shadow"].splitlines()] == [user[0] for user in users]
    assert {line.split(":")[1] for line in read["shadow"].splitlines()} == {"*"}        # nobody has a password
    assert stat.S_IMODE(os.stat(tmp_path / "etc" / "shadow").st_mode) == 0o640


@pytest.fixture
def tools(monkeypatch):
    """This host's programs instead of the packages'."""
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin:/sbin")
    for program in ("mke2fs", "debugfs", "qemu-img"):
        if shutil.which(program) is None:
            pytest.skip("%s is missing" % program)
    monkeypatch.setattr(full, "unpacked_program", lambda root, program, folder: [program])


def test_all_of_the_disk_belongs_to_root_whoever_unpacked_it(tmp_path, tools):
    root = tmp_path / "root"
    names = ["plain", "a b", "back\\x2dslash", "it's", "folder/sudo"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")
    (root / "link").symlink_to("plain")
    (root / "folder" / "sudo").chmod(0o4755)
    if os.getuid() == 0:
        for path in [root, *root.rglob("*")]:
            os.chown(path, 70000, 1234, follow_symlinks=False)
        (root / "folder" / "sudo").chmod(0o4755)
    full._make_disk(str(root), str(tmp_path / "disk.qcow2"))
    raw = str(tmp_path / "disk.qcow2.raw")
    for name in [*names, "link", "folder", "."]:
        said = subprocess.run(["debugfs", "-R", 'stat "/%s"' % name, raw], check=True, stdout=subprocess.PIPE,
                              text=True).stdout
        assert re.search(r"User: +0 +Group: +0 ", said), said
        if name == "folder/sudo":
            assert "Mode:  04755" in said
    assert (tmp_path / "disk.qcow2").stat().st_size > 0


def test_name_that_debugfs_would_take_for_more_is_refused(tmp_path):
    for name in ('a"b', "a\nb"):
        with pytest.raises(commands.GuestBuildError, match="name can't be used"):
            full._inside(str(tmp_path), str(tmp_path / name))
