"""The table of params: what is read is in it, what is in it is read, and the documents say the same."""

import ast
import os
import re
import subprocess
import sys

import pytest
from support.recorder import Recorder
from virtvm import cli
from virtvm.params import config, reference, table
from virtvm.params.params import Params

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Names of methods and mappings that are no params of a test, beside those that are.
OTHERS = {"virtvm/hypervisors/migration.py": {"max-bandwidth"}, "virtvm/autotest/variants/cartesian.py": {"shortname"}}


def text(path):
    with open(os.path.join(TOP, path)) as f:
        return f.read()


def sources(folder, suffix):
    for place, folders, names in os.walk(os.path.join(TOP, folder)):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            if name.endswith(suffix):
                yield os.path.relpath(os.path.join(place, name), TOP)


def asked_keys(tree):
    """Texts by which something that is called params is asked."""
    for node in ast.walk(tree):
        whom = key = None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args \
                and node.func.attr in ("get", "objects", "setdefault", "pop"):
            whom, key = node.func.value, node.args[0]
        elif isinstance(node, ast.Subscript):
            whom, key = node.value, node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_is_yes":
            whom, key = node.args[:2]
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and "params" in ast.unparse(whom):
            yield key.value


def test_params_that_the_sources_name_are_in_the_table():
    read = {}
    for path in sources("virtvm", ".py"):
        for key in set(asked_keys(ast.parse(text(path)))) - OTHERS.get(path, set()):
            read.setdefault(path, set()).add(key)
    for path in sources("ext/virt_vm", ".c"):
        read.setdefault(path, set()).update(re.findall(r'vm_(?:self_)?param(?:_or_none)?\([^;"{]*"(\w+)"', text(path)))
    assert sum(map(len, read.values())) > 100
    missing = {path: sorted(keys - set(table.TABLE)) for path, keys in read.items() if keys - set(table.TABLE)}
    assert missing == {}
    not_told = {(path, key) for path, keys in read.items() for key in keys if path not in table.TABLE[key].readers()}
    assert not_told == set()


@pytest.mark.parametrize("param", table.TABLE.values(), ids=lambda param: param.name)
def test_entry_is_whole(param):
    assert param.meaning.endswith(".") and param.example and param.whose in ("autotest", "virtvm")
    assert param.honoured == bool(param.by) and not (param.by == (table.TESTS,) and param.readers())
    assert param.of in ("", *table.LISTS)
    # Of a pattern, and of a name with an object's, the readers have a part.
    word = {"*_on_error": "on_error", "guest_port_remote_shell": "guest_port"}.get(param.name, param.name)
    for path in param.readers():
        assert '"%s"' % word in text(path), "%s does not read it" % path


def test_there_is_one_entry_a_name_and_defaults_come_from_them():
    assert len(table.TABLE) == sum(len(params) for _title, params in table.GROUPS)
    assert config.DEFAULTS is table.DEFAULTS and table.DEFAULTS["mem"] == "1024" and "bridge" not in table.DEFAULTS


def test_document_is_current():
    assert text("docs/params.rst") == reference.rst(), "python -m virtvm.params.reference >docs/params.rst"


def test_document_can_be_made_by_its_command():
    made = subprocess.run([sys.executable, "-m", "virtvm.params.reference"], cwd=TOP, check=True, capture_output=True,
                          timeout=60, text=True).stdout
    assert made == reference.rst()


@pytest.mark.parametrize("name, objects, entry", [
    ("mem", (), "mem"), ("mem_vm1", ("vm1",), "mem"), ("mem_vm1", (), None),
    ("nic_model_a_b_vm2", ("a_b", "vm2"), "nic_model"),
    ("kill_vm_on_error", (), "kill_vm"), ("nonsense_on_error", (), None), ("spice_port", (), "spice_*"),
    ("9p_readonly", (), "9p_*"), ("mme", ("vm1",), None)])
def test_entry_of_a_name(name, objects, entry):
    found = table.find(name, objects)
    assert (found and found.name) == entry


@pytest.mark.parametrize("name, near", [("mme", "mem"), ("nicmodel", "nic_model"), ("pasword", "password"),
                                        ("utterly_different", None)])
def test_nearest_name(name, near):
    assert table.nearest(name) == near


def test_objects_are_those_that_lists_name():
    params = {"vms": "vm1 vm2", "nics_vm2": "inner outer", "mem": "512", "dep": ["images"], "images": ""}
    assert table.objects_of(params) == {"vm1", "vm2", "inner", "outer"}


def output(capsys, *words):
    status = cli.main(["params", *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_command_lists_searches_and_tells_all_of_one(capsys):
    status, listed, _ = output(capsys)
    assert status == 0 and len(listed.splitlines()) == len(table.TABLE)
    status, found, _ = output(capsys, "regular", "screen")
    assert status == 0 and {line.split()[0] for line in found.splitlines()} == {
        "take_regular_screendumps", "screendump_delay", "keep_screendumps"}
    status, detail, _ = output(capsys, "mem")
    assert status == 0 and detail.splitlines() == [
        "mem", "    Memory of the guest.", "    default  1024, else 128 (autotest's)", "    unit     MiB",
        "    of       machines", "    example  mem = 2048",
        "    read by  virtvm/hypervisors/qemu_command.py, virtvm/autotest/tests/virt_test_setup.py"]
    assert "does not honour" in output(capsys, "floppies")[1]
    assert output(capsys, "nicmodel") == (1, "", "virtvm: no param has nicmodel in it: did you mean nic_model?\n")
    assert output(capsys, "zzzzzz") == (1, "", "virtvm: no param has zzzzzz in it\n")


@pytest.mark.own_params("own_*")
def test_recorder_notes_what_is_not_in_the_table(recorder_and_params):
    recorder, params = recorder_and_params
    for key in ("mem", "mem_vm1", "own_size", "_name_map", "unknown_to_all"):
        recorder.note(params, key)
    assert recorder.asked == {"unknown_to_all": "a test"}


@pytest.fixture
def recorder_and_params():
    recorder = Recorder()
    recorder._test, recorder._own = "a test", ["own_*"]
    return recorder, Params(vms="vm1")


@pytest.mark.own_params("asked_*")
@pytest.mark.parametrize("ask", [
    lambda params, key: params.get(key), lambda params, key: params.get(key, "x"), lambda params, key: key in params,
    lambda params, key: params.setdefault(key, "x"), lambda params, key: params.objects(key),
    lambda params, key: params.object_params("vm1").get(key), lambda params, key: params.pop(key, None)])
def test_recorder_hears_each_way_of_asking(request, monkeypatch, ask):
    recorder = request.config.pluginmanager.get_plugin("virtvm-params-asked")
    heard = []
    monkeypatch.setattr(recorder, "_own", ())
    monkeypatch.setattr(recorder, "asked", {})
    ask(Params(vms="vm1"), "asked_for")
    heard.extend(recorder.asked)
    assert heard == ["asked_for"]


def test_recorder_hears_our_c_code(request, monkeypatch):
    from virtvm import virt_vm
    recorder = request.config.pluginmanager.get_plugin("virtvm-params-asked")
    heard = []
    monkeypatch.setattr(recorder, "_seen", set())
    monkeypatch.setattr(recorder, "asked", {})
    monkeypatch.setattr(table, "find", lambda key, objects: heard.append(key))
    virt_vm.get_image_filename(Params(image_name="x"), "/")
    monkeypatch.undo()
    recorder.asked.clear()
    assert heard == ["image_name", "image_format", "image_raw_device"]
