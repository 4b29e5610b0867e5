"""Params of a run: what wins over what, and what is refused."""

import argparse

import pytest
from virtvm import config


def options(*words):
    parser = argparse.ArgumentParser()
    config.add_arguments(parser.add_argument)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('''
[params]
mem = 512
smp = "2"
nics = ["nic1", "nic2"]
image_snapshot = false

[objects.nic2]
nic_model = "e1000"

[tests.boot]
mem = 2048
reboot_method = "system_reset"
''')
    return path


def test_defaults_are_what_nearly_every_test_asks():
    params = config.load(options()).params_for("boot")
    assert params["main_vm"] == "vm1" and params.objects("vms") == ["vm1"] and int(params["login_timeout"]) > 0
    assert (params["type"], params["name"], params["shortname"]) == ("boot",) * 3
    assert params.object_params("nic1")["nic_mode"] == "user"


def test_file_wins_over_defaults_and_the_command_line_over_the_file(toml):
    loaded = config.load(options("--config", toml, "--param", "smp=4", "--param", "extra_params=-d a=b"))
    params = loaded.params_for("boot")
    assert (params["mem"], params["smp"], params["nics"], params["image_snapshot"]) == ("2048", "4", "nic1 nic2", "no")
    assert params["extra_params"] == "-d a=b" and params["reboot_method"] == "system_reset"
    assert params.object_params("nic2")["nic_model"] == "e1000"
    other = config.load(options("--config", toml)).params_for("shutdown")
    assert other["mem"] == "512" and "reboot_method" not in other
    assert config.load(options("--config", toml, "--param", "mem=99")).params_for("boot")["mem"] == "99"


def test_later_file_wins(toml, tmp_path):
    (tmp_path / "more.toml").write_text("[params]\nmem = 640\n")
    assert config.load(options("--config", toml, "--config", tmp_path / "more.toml")).params["mem"] == "640"


@pytest.mark.parametrize("head, found", [(b"QFI\xfb\0\0\0\3", "qcow2"), (b"KDMV", "vmdk"), (b"\0" * 512, "raw"),
                                         (b"", "raw")])
def test_image_is_not_written_to_unless_asked(tmp_path, head, found):
    disk = tmp_path / "a disk"
    disk.write_bytes(head)
    params = config.load(options("--image", disk)).params
    assert (params["image_name"], params["image_raw_device"], params["image_format"]) == (str(disk), "yes", found)
    assert (params["images"], params["image_snapshot"]) == ("image1", "yes")
    assert config.load(options("--image", disk, "--write-image")).params["image_snapshot"] == "no"


@pytest.mark.parametrize("text, complaint", [
    ("[params\n", "run.toml"), ("[parameters]\nmem = 1\n", "unknown table"), ("[params]\nmem = {a = 1}\n", "mem"),
    ("params = 3\n", "table is expected")])
def test_bad_files_are_named(tmp_path, text, complaint):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(config.ConfigError, match=complaint.replace("[", r"\[")):
        config.load(options("--config", tmp_path / "run.toml"))


@pytest.mark.parametrize("words, complaint", [
    (["--config", "/none.toml"], "/none.toml"), (["--image", "/none.img"], "no such file"),
    (["--kernel", "/none"], "no such file"), (["--param", "mem"], "KEY=VALUE"), (["--param", "=1"], "KEY=VALUE")])
def test_bad_options_are_named(words, complaint):
    with pytest.raises(config.ConfigError, match=complaint):
        config.load(options(*words))


CFG = """
mem = 256
variants:
    - boot:
        type = boot
    - copy: boot
        type = file_transfer
        variants:
            - small:
                size = 1
            - large:
                size = 1000
variants:
    - raw:
        image_format = raw
    - qcow2:
        image_format = qcow2
"""


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "tests.cfg"
    path.write_text(CFG)
    return path


def test_variants_of_a_test(cfg, toml):
    found = list(config.load(options("--config", cfg, "--param", "smp=2", "--no", "raw")).runs("file_transfer"))
    assert [name for name, _ in found] == ["qcow2.copy.small", "qcow2.copy.large"]
    params = found[1][1]
    assert (params["size"], params["mem"], params["smp"], params["image_format"]) == ("1000", "256", "2", "qcow2")
    assert params["dep"] == ["qcow2.boot"] and params["main_vm"] == "vm1"
    loaded = config.load(options("--config", cfg, "--only", "large..raw"))
    assert [name for name, _ in loaded.runs()] == ["raw.copy.large"]
    assert config.load(options("--config", cfg)).variants and not config.load(options("--config", toml)).variants


def test_bad_variants_are_named(cfg):
    cfg.write_text("variants:\n  nonsense\n")
    with pytest.raises(config.ConfigError, match="tests.cfg:2"):
        config.load(options("--config", cfg))
    with pytest.raises(config.ConfigError, match="none.cfg"):
        config.load(options("--config", "/none.cfg"))
    cfg.write_text(CFG)
    with pytest.raises(config.ConfigError, match="filter"):
        config.load(options("--config", cfg, "--only", "a .. b"))


def run(capsys, *words):
    from virtvm import cli
    status = cli.main([str(word) for word in words])
    return status, capsys.readouterr().out


def test_list_command(cfg, capsys):
    status, output = run(capsys, "list", cfg)
    assert status == 0 and [line.split()[1] for line in output.splitlines()] == [
        "raw.boot", "raw.copy.small", "raw.copy.large", "qcow2.boot", "qcow2.copy.small", "qcow2.copy.large"]
    assert run(capsys, "list", cfg, "--only", "boot", "--count") == (0, "2\n")
    assert "           size = 1000\n" in run(capsys, "list", cfg, "-v", "--only", "large..raw")[1]
    import json
    assert json.loads(run(capsys, "list", cfg, "--json", "--only", "raw.boot")[1])["type"] == "boot"
    assert run(capsys, "list", "/none.cfg")[0] == 2
