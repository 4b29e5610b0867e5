"""The documents: complete, and their links and examples in order."""

import ast
import glob
import inspect
import os
import re
import textwrap

import pytest
from virtvm import virt_vm

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
