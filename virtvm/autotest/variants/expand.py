"""From statements to dicts, one after another, never more of the tree than the filters leave."""

import itertools
import re

from virtvm.autotest.variants.syntax import (
    Assign, Condition, Delete, Join, Only, Suffix, Variants, collect)

_RESERVED = ("name", "shortname", "dep", "_name_map_file", "_short_name_map_file")
_SIZES = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class Chosen:
    """A result while it is chosen: its labels from the left, and what they bring."""

    __slots__ = ("name", "branches", "deps", "filters")

    def __init__(self, name=(), branches=(), deps=(), filters=()):
        self.name, self.branches, self.deps, self.filters = name, branches, deps, filters

    def with_branch(self, block, branch):
        prefix = [str(label) for label in self.name]
        deps = tuple(".".join(prefix + [dep]) for dep in branch.deps)
        return Chosen(self.name + tuple(branch.labels), self.branches + ((block, branch),), self.deps + deps,
                      self.filters + tuple(branch.filters))


class Expander:
    """Yields the dicts of a body."""

    def __init__(self, body, dialect, defaults=False, expand_defaults=()):
        self._body, self._dialect = body, dialect
        self._defaults, self._expand_defaults = defaults, frozenset(expand_defaults)
        self.visited = 0                # nodes of the tree that were looked at

    def dicts(self):
        joins = [s for s in self._body if isinstance(s, Join)]
        if not joins:
            for found in self._results(()):
                yield self._finished(found)
        for join in joins:
            sides = [list(self._results((Only(True, side),))) for side in join.filters]
            for found in itertools.product(*sides):
                yield self._finished(_merged(found))

    def common(self):
        """The params of a choice without branches (dict)."""
        run = _Run(Chosen(), self._dialect)
        run.body(self._body)
        return self._values(run.result())

    # choosing

    def _results(self, more):
        blocks, filters = collect(self._body)
        blocks = [block for block in blocks if block.branches]
        start = Chosen(filters=tuple(filters) + tuple(more))
        for chosen in self._choose(start, tuple(blocks)):
            result = self._run(chosen)
            if result is not None:
                yield result

    def _choose(self, chosen, agenda):
        """Chosen results with one branch of each block of the agenda, the leftmost label first."""
        self.visited += 1
        if not self._may_pass(chosen, agenda):
            return
        if not agenda:
            yield chosen
            return
        block, rest = agenda[0], agenda[1:]
        default = block.default() if self._defaults and block.name not in self._expand_defaults else None
        branches = block.branches if default is None else [default] + [b for b in block.branches if b is not default]
        for branch in branches:
            inner = tuple(b for b in branch.blocks if b.branches)
            any_found = False
            for found in self._choose(chosen.with_branch(block, branch), inner + rest):
                any_found = True
                yield found
            if branch is default and any_found:
                return

    @staticmethod
    def _may_pass(chosen, agenda):
        possible = frozenset().union(*(block.labels() for block in agenda))
        for only in chosen.filters:
            if only.keep and not only.filter.may_match(chosen.name, possible):
                return False
            if not only.keep and only.filter.matches(chosen.name):
                return False
        return True

    # running

    def _run(self, chosen):
        """The result that was chosen (Result), or None if a filter refuses it."""
        run = _Run(chosen, self._dialect)
        if not all(only.filter.matches(chosen.name) == only.keep for only in chosen.filters):
            return None
        run.body(self._body)
        return None if run.refused else run.result()

    def _finished(self, result):
        params = {"name": result.name, "dep": result.deps, "shortname": result.shortname}
        if self._dialect.modern:
            params.update(result.maps)
        params.update(self._values(result))
        return params

    def _values(self, result):
        if not self._dialect.modern:
            return result.params
        values = _without_suffixes(result.params)
        _limit(values)
        return values


class Result:
    """A finished choice.  params: its keys are texts, or (text, suffix)."""

    def __init__(self, name, shortname, deps, params, maps):
        self.name, self.shortname, self.deps, self.params, self.maps = name, shortname, deps, params, maps


class _Run:
    """Runs the assignments of a choice from top to bottom."""

    def __init__(self, chosen, dialect):
        self._chosen, self._dialect = chosen, dialect
        self._branch_of = {id(block): branch for block, branch in chosen.branches}
        self._params = {}
        self.refused = False
        self._name = ".".join(str(label) for label in chosen.name)
        self._shortname = ".".join(label.text for _, branch in chosen.branches if not branch.is_default
                                   for label in branch.labels)

    def body(self, body):
        suffix = None
        for statement in body:
            if isinstance(statement, Assign):
                self._assign(statement)
            elif isinstance(statement, Variants):
                self._variants(statement)
            elif isinstance(statement, Condition):
                self._condition(statement)
            elif isinstance(statement, Delete):
                for key in self._keys(statement.search):
                    del self._params[key]
            elif isinstance(statement, Suffix):
                suffix = statement.text
        if suffix is not None:
            self._params = {(key, suffix) if isinstance(key, str) else (key[0], key[1] + suffix): value
                            for key, value in self._params.items()}

    def _variants(self, block):
        branch = self._branch_of.get(id(block))
        if branch is None:
            return
        if block.name:
            self._params[block.name] = ".".join(label.text for label in branch.labels)
        self.body(branch.body)

    def _condition(self, condition):
        if condition.filter.matches(self._chosen.name) == condition.negated:
            return
        for only in condition.body:
            if isinstance(only, Only) and only.filter.matches(self._chosen.name) != only.keep:
                self.refused = True
        self.body(condition.body)

    def _keys(self, search):
        return [key for key in self._params if isinstance(key, str) and search(key)]

    def _assign(self, a):
        if a.key in _RESERVED:
            return
        value = a.value if a.literal or not self._dialect.modern else self._substituted(a.value)
        if a.search is not None:
            for key in self._keys(a.search):
                self._params[key] = _combined(self._params[key], a.operator[1:], value)
        elif a.operator == "~=":
            self._params.setdefault(a.key, value)
        else:
            self._params[a.key] = _combined(self._params.get(a.key, ""), a.operator, value)

    def _substituted(self, text):
        """text with the values of ${keys}, up to the first that is not known."""
        parts, at = [], 0
        for found in re.finditer(r"\$\{([^}]*)\}", text):
            key = found.group(1)
            known = {"name": self._name, "shortname": self._shortname}.get(key, self._params.get(key))
            if known is None:
                break
            parts += [text[at:found.start()], known]
            at = found.end()
        return "".join(parts) + text[at:]

    def result(self):
        return Result(self._name, self._shortname, list(self._chosen.deps), self._params, self._maps())

    def _maps(self):
        maps = {}
        for _, branch in self._chosen.branches:
            for key, hidden in (("_name_map_file", False), ("_short_name_map_file", branch.is_default)):
                if not hidden:
                    text = ".".join(str(label) if key == "_name_map_file" else label.text for label in branch.labels)
                    there = maps.setdefault(key, {})
                    there[branch.filename] = ".".join(filter(None, [there.get(branch.filename), text]))
        return maps


def _combined(old, operator, value):
    return {"=": value, "+=": old + value, "<=": value + old}[operator]


# ---- what comes last ----

def _common(names):
    """Names with a common beginning, as one."""
    parts = [name.split(".") for name in names]
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*parts))
    prefix = [column[0] for column in same]
    return ".".join(prefix + [part for one in parts for part in one[len(prefix):]])


def _merged(results):
    params, deps, maps = {}, [], {}
    for result in results:
        params.update(result.params)
        deps += [dep for dep in result.deps if dep not in deps]
        maps.update(result.maps)
    return Result(_common([r.name for r in results]), _common([r.shortname for r in results]), deps, params, maps)


def _without_suffixes(params):
    """Suffixes stay only where values differ."""
    values = {}
    for key, value in params.items():
        if not isinstance(key, str):
            values.setdefault(key[0], set()).add(value)
    found = {}
    for key, value in params.items():
        if isinstance(key, str):
            found[key] = value
        elif params.get(key[0]) == value:
            continue
        elif len(values[key[0]]) == 1 and key[0] not in params:
            found[key[0]] = value
        else:
            found[key[0] + key[1]] = value
    return found


def _size(text, default):
    """A number with a size's letter as a number (float)."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([BKMGT]?)[Bb]?\s*", text)
    if found is None:
        raise ValueError("%r is no number" % text)
    return float(found.group(1)) * 1024 ** _SIZES[found.group(2) or default]


def _compare(one, other):
    """Both as numbers; where one has a size's letter and the other has none, that is in M."""
    default = "M" if re.search(r"[BKMGT]", one + other) else "B"
    return _size(one, default), _size(other, default)


def _limit(params):
    """KEY_min, KEY_max and KEY_fixed bound KEY, or make it."""
    for key in list(params):
        base, _, what = key.rpartition("_")
        if not base or what not in ("min", "max", "fixed"):
            continue
        bound, value = params[key], params.get(base)
        if value is None or what == "fixed":
            params[base] = bound
            continue
        number, limit = _compare(value, bound)
        if (what == "min" and number < limit) or (what == "max" and number > limit):
            params[base] = bound
