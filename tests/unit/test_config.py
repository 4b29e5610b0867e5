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


@pytest.mark.parametrize("name, head, found", [
    ("a disk.qcow2", b"QFI\xfb\0\0\0\3", "qcow2"), ("a disk.VMDK", b"KDMV", "vmdk"), ("a disk.img", b"\0" * 512, "raw"),
    ("a disk", b"", "raw")])
def test_image_is_not_written_to_unless_asked(tmp_path, name, head, found):
    disk = tmp_path / name
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
    (["--config", "/none.toml"], "/none.toml"), (["--image", "/none.img"], "No such file"),
    (["--kernel", "/none"], "No such file"), (["--param", "mem"], "KEY=VALUE"), (["--param", "=1"], "KEY=VALUE")])
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


@pytest.mark.own_params("size")
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


# ---- what wins ----

# Each place where a param may be said, from the weakest to the strongest.
PLACES = ["guest", "first.toml", "middle.cfg", "last.toml", "tests.test_x", "tests.TestX::test_x", "tests.test_x[1]",
          "marker", "option", "param"]


class Said:
    """Says kernel= in some places, each with the place's own name."""

    def __init__(self, folder, places, monkeypatch):
        self.folder, self.words, self.marked = folder, [], {}
        for place in PLACES:
            (folder / place).write_text("")
        monkeypatch.setattr(config, "_built", lambda path, build: self)
        files = {}
        for place in places:
            value = str(folder / place)
            if place == "guest":
                self.words += ["--guest", value]
            elif place.endswith(".cfg"):
                files[place] = "kernel = %s\nvariants:\n    - one:\n        type = other\n" % value
            elif place.endswith(".toml"):
                files[place] = "[params]\nkernel = '%s'\n" % value
            elif place.startswith("tests."):
                files["tests.toml"] = (files.get("tests.toml", "")
                                       + "[tests.'%s']\nkernel = '%s'\n" % (place.partition(".")[2], value))
            elif place == "marker":
                self.marked = {"kernel": value}
            else:
                self.words += ["--kernel", value] if place == "option" else ["--param", "kernel=" + value]
        for name in sorted(files, key=["tests.toml", *PLACES].index):
            (folder / name).write_text(files[name])
            self.words += ["--config", str(folder / name)]

    def params(self):
        return {"kernel": str(self.folder / "guest")}

    def found(self):
        names = ["test_x", "TestX::test_x", "test_x[1]"]
        return config.load(options(*self.words)).params_for(*names, marked=self.marked)["kernel"]


@pytest.mark.parametrize("weaker, stronger", [(a, b) for i, a in enumerate(PLACES) for b in PLACES[i + 1:]])
def test_order_of_places(tmp_path, monkeypatch, weaker, stronger):
    said = Said(tmp_path, [weaker, stronger], monkeypatch)
    assert said.found() == str(tmp_path / stronger)


def test_order_of_all_places_at_once(tmp_path, monkeypatch):
    for count in range(len(PLACES), 0, -1):
        assert Said(tmp_path, PLACES[:count], monkeypatch).found() == str(tmp_path / PLACES[count - 1])


@pytest.mark.parametrize("first, last", [("one.cfg", "two.toml"), ("one.toml", "two.cfg"), ("one.toml", "two.toml"),
                                         ("one.cfg", "two.cfg")])
def test_later_file_wins_whatever_its_format(tmp_path, first, last):
    for name, value in ((first, "1${x}"), (last, "2")):
        text = "[params]\nmem = '%s'\n" if name.endswith("toml") else "mem = %s\n"
        (tmp_path / name).write_text(text % value)
    (tmp_path / "end.cfg").write_text("x = no\nvariants:\n    - a:\n        type = t\n    - b:\n        type = u\n")
    words = ["--config", tmp_path / first, "--config", tmp_path / last, "--config", tmp_path / "end.cfg"]
    loaded = config.load(options(*words))
    assert [params["mem"] for _, params in loaded.runs()] == ["2", "2"]
    assert loaded.params_for("none_of_them")["mem"] == loaded.params["mem"] == "2"


@pytest.mark.own_params("a")
def test_text_of_toml_is_no_configuration_format(tmp_path, cfg):
    (tmp_path / "run.toml").write_text("[params]\na = \"'q' ${mem}\\nonly x\"\n")
    loaded = config.load(options("--config", cfg, "--config", tmp_path / "run.toml"))
    assert {params["a"] for _, params in loaded.runs()} == {"'q' ${mem}\nonly x"}


@pytest.mark.parametrize("words", [["--only", "x"], ["--no", "x"]])
def test_filters_need_variants(toml, words):
    with pytest.raises(config.ConfigError, match="no file of variants"):
        config.load(options(*words, "--config", toml))


def test_list_needs_variants(toml, capsys):
    from virtvm import cli
    assert cli.main(["list", str(toml)]) == 2 and "run.toml: has params, but no variants" in capsys.readouterr().err
    assert cli.main(["list"]) == 2 and "which tests?" in capsys.readouterr().err


def test_variants_are_expanded_once(cfg, monkeypatch):
    from virtvm.autotest.variants import cartesian
    times = []
    expand = cartesian.Parser.get_dicts
    monkeypatch.setattr(cartesian.Parser, "get_dicts", lambda self: times.append(1) or expand(self))
    loaded = config.load(options("--config", cfg))
    for name in ("boot", "file_transfer", "none", "boot"):
        list(loaded.numbered_runs(name))
    assert len(times) == 1 and loaded.has_runs("boot") and not loaded.has_runs("none")


@pytest.mark.parametrize("value, text", [
    (True, "yes"), (2048, "2048"), ([1, "b"], "1 b"), (__import__("pathlib").Path("/boot/x"), "/boot/x"),
    ({"a": 1}, None), (None, None), ([{}], None)])
def test_what_can_be_a_param(value, text):
    assert config.text(value) == text


@pytest.mark.parametrize("params, named", [
    ({}, False), ({"kernel": "/k"}, True), ({"cdrom_cd1": "/x.iso"}, True), ({"vm_class": "a:B"}, True),
    ({"image_name_image1": "x"}, True), ({"mem": "1024", "kernel": ""}, False)])
def test_whether_a_guest_is_named(params, named):
    assert config.names_guest({**config.DEFAULTS, **params}) is named
