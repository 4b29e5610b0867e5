"""The documents: complete, and their links and examples in order."""

import ast
import glob
import importlib
import inspect
import os
import re
import textwrap

import pytest
from virtvm import virt_vm
from virtvm.autotest.imports import names

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENTS = sorted(glob.glob(os.path.join(TOP, "*.rst"))
                   + glob.glob(os.path.join(TOP, "docs", "**", "*.rst"), recursive=True))


def text(path):
    with open(os.path.join(TOP, path)) as f:
        return f.read()


def python_blocks(path):
    blocks = re.findall(r"^\.\. code-block:: python\n((?:\n|[ ]+.*\n)+)", text(path), re.M)
    return [textwrap.dedent(block) for block in blocks]


def own_names():
    """Names that virt_vm defines, with the methods of BaseVM."""
    names = [name for name, value in vars(virt_vm).items()
             if not name.startswith("_") and not inspect.ismodule(value)]
    methods = [name for name, value in vars(virt_vm.BaseVM).items()
               if not name.startswith("__") and (callable(value) or name.isupper())]
    return names + methods


def test_compatibility_table_has_every_name():
    table = text("docs/compatibility.rst")
    assert len(own_names()) > 50
    missing = [name for name in own_names() if not re.search(r"``%s\b" % re.escape(name), table)]
    assert missing == []


def test_compatibility_table_has_the_right_bases():
    rows = re.findall(r"^``(VM\w+)`` +``(\w+)`` ", text("docs/compatibility.rst"), re.M)
    assert len(rows) == 25
    assert [(name, getattr(virt_vm, name).__base__.__name__) for name, _ in rows] == rows


def companions_table():
    """{name of autotest's module: names}, of docs/compatibility.rst."""
    table = re.search(r"^Companions\n-+\n.*?\n=+  =+\nModule .*?\n=+  =+\n(.*?)\n=+  =+\n",
                      text("docs/compatibility.rst"), re.M | re.S).group(1)
    rows = {}
    for line in table.split("\n"):
        if not line.startswith(" "):
            module = line.split("``")[1]
        rows.setdefault(module, []).extend(re.findall(r"``(\w+)``", line[27:]))
    return rows


def test_companions_have_the_names_of_the_table():
    rows = companions_table()
    assert len(rows) == 12 and sum(map(len, rows.values())) > 120
    for module, expected in rows.items():
        ours = importlib.import_module(names.ours("client." + module))
        assert [name for name in expected if not hasattr(ours, name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=os.path.basename)
def test_links_lead_to_files(path):
    links = re.findall(r"`[^`<]*<([^>`]+)>`_", text(path)) + re.findall(r"\b([\w/.-]+\.rst)\b", text(path))
    for link in links:
        if not re.match(r"[a-z]+://", link):
            places = [os.path.dirname(path), TOP, os.path.join(TOP, "docs")]
            assert any(os.path.exists(os.path.join(place, link.split("#")[0])) for place in places), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=os.path.basename)
def test_examples_are_python(path):
    for block in python_blocks(path):
        ast.parse(block)


def test_attacks_of_the_security_document_are_there():
    rows = re.findall(r"``(tests/[\w./]+)``", text("SECURITY.rst"))
    assert len(rows) > 10
    missing = [path for path in rows if not os.path.exists(os.path.join(TOP, path))]
    assert missing == []
    for path in rows:
        assert not path.endswith(".py") or re.search(r"^(async )?def test_", text(path), re.M), path


def test_secrets_are_those_that_the_security_document_names():
    from virtvm.companions import secrets
    paragraph = " ".join(re.search(r"Secret is each param.*?\n\n", text("SECURITY.rst"), re.S).group().split())
    rules, examples = paragraph.split("between underscores:")[0], paragraph.split("underscores:")[1].split(".")[0]
    assert set(re.findall(r"``(\w+)``", rules)) == set(secrets._WORDS + secrets._SHORT)
    assert all(map(secrets.is_secret, re.findall(r"``(\w+)``", examples)))


def test_each_promise_of_security_has_tests_that_exist():
    with open(os.path.join(TOP, "SECURITY.rst")) as f:
        table = f.read().split("\nPromises, and what attacks them\n")[1].split("\nBounds of what a peer decides\n")[0]
    rows = table.split("   * - ")[2:]
    assert len(rows) > 20
    for row in rows:
        columns = row.split("     - ")
        assert len(columns) == 3 and all(map(str.strip, columns)), row
        named = re.findall(r"``([^`]+)``", columns[2])
        assert named, row
        for name in named:
            path = name if name.startswith("tests/") else os.path.join("tests", "fuzz", name)
            assert os.path.isfile(os.path.join(TOP, path)), path
            if path.startswith("tests/fuzz/"):
                assert os.listdir(os.path.join(TOP, "tests", "fuzz", "corpus", os.path.basename(path)[:-2]))
