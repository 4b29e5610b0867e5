"""The configuration format, in both of its dialects."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtvm.autotest.variants import cartesian

HIDDEN = {"name", "shortname", "dep", "_name_map_file", "_short_name_map_file"}


def shown(params):
    """'name ~shortname !dep,dep {key=value, ...}', as the table below writes it."""
    words = [params["name"] or "-"]
    if params["shortname"] != params["name"]:
        words.append("~" + params["shortname"])
    if params["dep"]:
        words.append("!" + ",".join(params["dep"]))
    return " ".join(words) + " {%s}" % ", ".join("%s=%s" % (k, params[k]) for k in sorted(params) if k not in HIDDEN)


def expand(text, dialect=None, **options):
    parser = cartesian.Parser(dialect=dialect, **options)
    parser.parse_string(text)
    return list(parser.get_dicts())


def table(text, dialect):
    try:
        return " ; ".join(map(shown, expand(text, dialect))) or "NONE"
    except cartesian.ParserError:
        return "ParserError"


# text, of 2011, of 2026 ("=" where they agree)
ROWS = [
    ("variants:\n  - a:\n  - b:\nvariants:\n  - c:\n  - @d:", "c.a {} ; c.b {} ; d.a ~a {} ; d.b ~b {}", "="),
    ("k = 0\nvariants:\n  - x:\n    k = 1\n  - y:\nk += z", "x {k=1z} ; y {k=0z}", "="),
    ("variants:\n  - p:\n    k = 1\n    variants:\n      - q:\n        k += 2\n      - r:\n  - s:\nk ?<= 9",
     "p.q {k=912} ; p.r {k=91} ; s {}", "="),
    ("variants:\n  - i:\n  - b: i\n    variants:\n      - u:\n      - v: u\nvariants:\n  - q:",
     "q.i {} ; q.b.u !q.i {} ; q.b.v !q.i,q.b.u {}", "="),
    ("variants:\n  - a:\n  - b:\nvariants:\n  - c:\n  - d:\nno a..c, d.b", "c.b {} ; d.a {}", "="),
    ("variants:\n  - a:\n  - b:\nvariants:\n  - c:\n  - d:\nonly a.d", "NONE", "="),
    ("k = 0\na:\n  k = 1\nvariants:\n  - a:\n    k += x\n  - b:", "a {k=1x} ; b {k=0}", "="),
    ("variants:\n  - a:\n  - b:\nvariants:\n  - c:\n  - d:\na: c: k = 1\n!a: only d",
     "c.a {k=1} ; d.a {} ; d.b {}", "="),
    ("!x: k = 1\nx: k = 2", "- {k=1}", "="),
    ("ab = 1\nac = 2\nxab = 3\na. ?+= 9\nzz ?= 4\nname = n", "- {ab=19, ac=29, xab=3}", "="),
    ("ab = 1\nac = 2\nb = 3\ndel ab", "- {ac=2, b=3}", "="),
    ("ab = 1\nb = 3\ndel a.", "- {b=3}", "ParserError"),
    ("a = ' x '\nb = 1 # c\nc = 'q' 'r'\nd = x\\\ne += 5", "- {a= x , b=1 # c, c=q' 'r, d=x\\, e=5}", "="),
    ("variants:\n  - a:\n    variants:\n      - x:\n      - y:\n    only x\n  - b:\nonly a b", "a.x {} ; b {}", "="),
    ("a = 1\nb = ${a}2${no}${a}\na = 3", "- {a=3, b=${a}2${no}${a}}", "- {a=3, b=12${no}${a}}"),
    ("variants os:\n  - lin:\n  - win:\nk = is_${os}\nonly (os=win)", "ParserError",
     "(os=win) ~win {k=is_win, os=win}"),
    ("variants:\n  - a:\n    k = 1\n    suffix _s\n  - b:\n    k = 2\n    suffix _t\nvariants:\n  - z:\njoin a b",
     "ParserError", "z.a.b {k_s=1, k_t=2}"),
    ("m = 9\nm_max = 5\nj_min = 2", "- {j_min=2, m=9, m_max=5}", "- {j=2, j_min=2, m=5, m_max=5}"),
    ("variants:\n  a:\n    k = 1", "a {k=1}", "ParserError"),
    # Lines of one block stand as deep as they like, as long as that is deeper than its head.
    ("a = 1\n  b = 2\n    c = 3\n d = 4", "- {a=1, b=2, c=3, d=4}", "="),
    ("variants:\n  - x:\n      a = 1\n         b = 2\n    c = 3\n  - y:", "x {a=1, b=2, c=3} ; y {}", "="),
    ("variants:\n  - x:\n      only y\n        a = 1\n  - y:\n      no x\n          b = 2\n     c = 3",
     "y {b=2, c=3}", "="),
    ("variants:\n      - x:\n   - y:\n          k = 1\n", "x {} ; y {k=1}", "="),
    ("k = 0\n   x:\n     k = 1\n       l = 2\n  m = 3\nvariants:\n  - x:", "x {k=1, l=2, m=3}", "="),
]


@pytest.mark.parametrize("text, of_2011, of_2026", ROWS)
def test_recorded_results(text, of_2011, of_2026):
    of_2026 = of_2011 if of_2026 == "=" else of_2026
    assert (table(text, 2011), table(text, 2026)) == (of_2011, of_2026)


@pytest.mark.parametrize("text, result", [
    ("", "- {}"),
    ("# only a comment\n// and another\n\n", "- {}"),
    ("onlyx = 1\nnotes = 2\nset a = 3", "- {notes=2, onlyx=1, set a=3}"),
    ("a b = 1\na.b = 2", "- {a b=1, a.b=2}"),
    ("d = x += y\nf = http://h:1/", "- {d=x += y, f=http://h:1/}"),
    ("a = '\nb = ''\nc = 'z\nd = \"q\"", "- {a=, b=, c='z, d=q}"),
    ("a=1\r\nb = 2\r\n", "- {a=1, b=2}"),
    ("b ?= 1\nx += 1\ny <= 2", "- {x=1, y=2}"),
    ("variants:\n  - a.b:\n  - c:\nonly a.b", "a.b {}"),
    ("variants:\n\t- a:\n\t\tk = 1\n", "a {k=1}"),
    ("variants:\n  - x:\n    k = 1\n    variants:\n      - p:\n      - q:\n    k += 2", "x.p {k=12} ; x.q {k=12}"),
    ("variants:\n  - a:\n  - ab:\nonly a", "a {}"),
    ("variants:\n  - a:\n  - a:\n", "a {} ; a {}"),
    ("variants:\n  - a:\n  - b:\nonly nothing", "NONE"),
    ("variants:\n  - a:\n  - b:\nno nothing", "a {} ; b {}"),
    ("variants:\n  - a:\n  - b:\nonly a b\nonly b", "b {}"),
])
def test_both_dialects_agree(text, result):
    assert table(text, 2011) == table(text, 2026) == table(text, None) == result


@pytest.mark.parametrize("text, result", [
    ("a = 1\na ~= 2\nb ~= 3", "- {a=1, b=3}"),
    ("variants:\n  - a:    # why\n  - b:\nonly a # this one", "a {}"),
    ("variants os [default=win]:\n  - lin:\n  - win:", "(os=lin) ~lin {os=lin} ; (os=win) ~ {os=win}"),
    ("variants os:\n  - lin:\nlin: k = 1\nonly ( os = lin )", "(os=lin) ~lin {k=1, os=lin}"),
    ("a = 1\nb = ${a}-${x}-${a}\nc = $HOME", "- {a=1, b=1-${x}-${a}, c=$HOME}"),
    ("variants:\n  - v:\nk = ${name}/${shortname}", "v {k=v/v}"),
    ("variants:\n  - a:\n    k = 1\n    suffix _s\n", "a {k=1}"),
    ("m = 512\nm_max = 1G\nn = 2G\nn_max = 512", "- {m=512, m_max=1G, n=512, n_max=512}"),
    ("m = 1\nm_fixed = 7", "- {m=7, m_fixed=7}"),
    ("variants:\n  - a:\n  - b:\n  - c:\njoin a b\njoin c", "a.b {} ; c {}"),
    ("variants:\n  - a:\njoin a nothing", "NONE"),
    ("variants os [default=none]:\n  - lin:", "ParserError"),
])
def test_today(text, result):
    assert table(text, 2026) == result


@pytest.mark.parametrize("text", [
    "only = 1", "- a:", "variants", "nonsense", "= 3", "only a..", "only a .b", "only a,,b", "only [a]", "no",
    "include", "a:\n  variants:\n    - b:", "variants:\n- a:\nb = 1", "variants:\n  - a b:",
    "suffix", "suffix a b"])
def test_bad_text_is_named(text):
    with pytest.raises(cartesian.ParserError) as info:
        expand(text, 2026)
    assert re.search(r"\(<string>:\d\)$", str(info.value)), str(info.value)


def test_errors_and_includes_name_file_and_line(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "main.cfg").write_text("a = 1\ninclude part/more.cfg\nb = ${a}\n")
    (tmp_path / "part" / "more.cfg").write_text("variants:\n    - x:\n        include deep.cfg\n    - y:\n")
    (tmp_path / "part" / "deep.cfg").write_text("a = 2\n")
    parser = cartesian.Parser(str(tmp_path / "main.cfg"))
    assert [shown(params) for params in parser.get_dicts()] == ["x {a=2, b=2}", "y {a=1, b=1}"]
    assert next(parser.get_dicts())["_name_map_file"] == {"more.cfg": "x"}
    (tmp_path / "part" / "deep.cfg").write_text("\nnonsense\n")
    with pytest.raises(cartesian.ParserError, match=r"deep.cfg:2\)"):
        cartesian.Parser(str(tmp_path / "main.cfg"))
    (tmp_path / "part" / "deep.cfg").unlink()
    with pytest.raises(cartesian.MissingIncludeError, match="more.cfg:3"):
        cartesian.Parser(str(tmp_path / "main.cfg"))
    with pytest.raises(OSError):
        cartesian.Parser(str(tmp_path / "none.cfg"))


def test_missing_include_of_2011_is_a_warning(tmp_path, capsys):
    (tmp_path / "main.cfg").write_text("include none.cfg\na = 1\n")
    assert [shown(p) for p in cartesian.Parser(str(tmp_path / "main.cfg"), dialect=2011).get_dicts()] == ["- {a=1}"]
    assert capsys.readouterr().out.startswith("WARNING: ")


def test_parser_goes_on_and_later_text_is_stronger():
    parser = cartesian.Parser()
    parser.parse_string("variants:\n  - a:\n    k = 1\n  - b:\n")
    parser.assign("k", "2")
    parser.only_filter("a b")
    parser.no_filter("b")
    for _ in range(2):
        assert [shown(params) for params in parser.get_dicts()] == ["a {k=2}"]
    assert (parser.only_filters, parser.no_filters, parser.assignments) == (["a b"], ["b"], [("k", "2")])


def test_defaults():
    text = "variants one:\n  - a:\n  - @b:\nvariants two [default=d]:\n  - c:\n  - d:\n"
    names = [params["shortname"] for params in expand(text, defaults=True)]
    assert names == [""]
    assert [p["name"] for p in expand(text, defaults=True, expand_defaults=["one"])] == [
        "(two=d).(one=a)", "(two=d).(one=b)"]
    assert [p["name"] for p in expand(text + "no b", defaults=True)] == ["(two=d).(one=a)"]


def test_print_dicts():
    parser = cartesian.Parser()
    parser.parse_string("k = 1\nvariants:\n  - a:\n  - b:\n")
    lines = []
    cartesian.print_dicts(parser, True, lines.append)
    assert lines[0] == "dict    1:  a" and "    k = 1" in lines and len(lines) == 14


# Against the plainest expansion there is

LABELS = "abcdef"


@st.composite
def configurations(draw):
    """(text, blocks): some blocks of branches with assignments, and filters."""
    blocks = draw(st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=3), min_size=1, max_size=4))
    lines = []
    for n, block in enumerate(blocks):
        lines.append("variants:")
        for label in block:
            lines += ["    - %s:" % label, "        k%d = %s" % (n, label), "        all += %s" % label]
    filters = draw(st.lists(st.tuples(st.sampled_from(["only", "no"]), st.lists(
        st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=2), min_size=1, max_size=2),
        min_size=1, max_size=2)), max_size=3))
    for word, terms in filters:
        lines.append("%s %s" % (word, ", ".join("..".join(".".join(run) for run in term) for term in terms)))
    return "\n".join(lines), blocks, filters


def plainly(blocks, filters):
    for choice in itertools.product(*blocks[::-1]):
        name = ".".join(choice)

        def means(terms, name=name):
            return any(all(".%s." % ".".join(run) in ".%s." % name for run in term) for term in terms)
        if all(means(terms) == (word == "only") for word, terms in filters):
            yield name, "".join(choice[::-1])


@given(configurations())
def test_same_as_the_plain_way(made):
    text, blocks, filters = made
    for dialect in (2011, 2026):
        assert [(p["name"], p["all"]) for p in expand(text, dialect)] == list(plainly(blocks, filters))


def test_filters_prune_and_results_stream():
    """Ten blocks of ten are 10^10 results: a few of them must cost a few nodes."""
    text = "".join("variants:\n" + "".join("    - v%d_%d:\n" % (n, i) for i in range(10)) for n in range(10))
    parser = cartesian.Parser()
    parser.parse_string(text)
    assert len(list(itertools.islice(parser.get_dicts(), 3))) == 3
    parser.parse_string("only %s" % "..".join("v%d_7" % n for n in range(10)))
    assert len(list(parser.get_dicts())) == 1 and parser.visited < 200
