"""What the names of a program stand for, as far as they stand for parts of the old API's client."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from assistantguard.dropin.surface import NAMESPACES
from assistantguard.models.values import Record

__all__ = ["Alias", "Chain", "Names", "dotted"]

Chain = tuple[str, ...]
"""What follows ``client.beta``: ``("threads", "runs", "create")``; empty for ``client.beta`` itself."""

Alias = tuple[ast.AST, str]
"""A name: the module, class or function that it belongs to, and its text."""

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)
_Scoped = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_WRAPPERS = {"with_raw_response", "with_streaming_response"}
_PROPERTIES = {"property", "cached_property"}
_DEEPEST = 4
"""How many names are followed from one to the next in a literal."""


@dataclass(slots=True, eq=False, repr=False)
class _Scope(Record):
    """A module's, a class's or a function's names."""

    node: ast.AST
    local: set[str] = field(default_factory=set)
    """The names that are the scope's own, whatever they stand for."""
    outer: set[str] = field(default_factory=set)
    """The names that it declares global or nonlocal."""
    bound: dict[str, Chain] = field(default_factory=dict)
    """Names, also dotted ones, that stand for a part of the client; a name with ``()`` for what calling it returns."""
    doubtful: set[str] = field(default_factory=set)
    """Names in `bound` that stand for something else as well."""
    literals: dict[str, ast.expr] = field(default_factory=dict)
    self_name: str = ""
    """What a method calls its object."""
    owner: _Scope | None = None
    """The class that it is a method of."""


class Names:
    """The scopes of one module.

    A name stands for what was last assigned to it in the order of the text; where that is later than its use, as in a
    function that is defined before its module's names are, for what is assigned to it at last.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._scopes: dict[ast.AST, _Scope] = {tree: _Scope(tree)}
        self._stack = [self._scopes[tree]]
        self._classes: dict[str, _Scope] = {}
        self._used: set[Alias] = set()
        for _ in range(2):  # a name may stand for one that is bound further down
            _Collector(self).visit(tree)
        self._used.clear()

    @contextlib.contextmanager
    def inside(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[None]:
        """Go into a function's or a class's own names."""
        scope = self._scopes.get(node)
        if scope is None:
            scope = self._scopes[node] = self._opened(node)
        self._stack.append(scope)
        try:
            yield
        finally:
            self._stack.pop()

    @staticmethod
    def outside(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[ast.expr]:
        """The expressions of a definition that belong to the scope around it."""
        yield from node.decorator_list
        if isinstance(node, ast.ClassDef):
            yield from node.bases
            yield from (keyword.value for keyword in node.keywords)
        else:
            yield from node.args.defaults
            yield from (default for default in node.args.kw_defaults if default is not None)

    def chain(self, node: ast.expr) -> Chain | None:
        """Return what an expression stands for, or None if that is no part of the old API's client."""
        if isinstance(node, ast.NamedExpr):
            return self.chain(node.value)
        if isinstance(node, (ast.IfExp, ast.BoolOp)):
            values = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
            return next((chain for chain in map(self.chain, values) if chain is not None), None)
        base, parts = _parts(node)
        found = self._found(base, parts)
        if found is not None:
            scope, key, rest = found
            self._used.add((scope.node, key))
            return scope.bound[key] + rest
        if isinstance(base, ast.Name):
            parts = [base.id, *parts]
        for place in range(len(parts) - 1, -1, -1):
            rest = tuple(parts[place + 1 :])
            if parts[place] == "beta" and (rest or place or not isinstance(base, ast.Name)):
                return rest if not rest or rest[0] in NAMESPACES else None
        return None

    def sure(self, node: ast.expr) -> bool:
        """Return whether an expression stands for its chain alone, as far as can be told."""
        base, parts = _parts(node)
        found = self._found(base, parts)
        return found is None or found[1] not in found[0].doubtful

    def bind(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> list[tuple[ast.expr, Alias | None]]:
        """Note what an assignment gives names to.

        Returns:
            The values that are assigned, each with the name that now stands for it if it is a part of the client.
        """
        if node.value is None:
            return []
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        pairs = [pair for target in targets for pair in _pairs(target, node.value)]
        return [(value, self._bind(target, value)) for target, value in pairs]

    def returned(self) -> Alias:
        """Return the name by which what the innermost function returns is reached."""
        function, around = self._stack[-1].node, self._stack[-2].node
        return (around, _returned_key(function)) if isinstance(function, _Function) else (around, "")

    def is_used(self, alias: Alias) -> bool:
        """Return whether a name has been read, as far as the module was visited."""
        return alias in self._used

    def literal(self, node: ast.expr) -> ast.expr:
        """Return what a name was last given, if it is known; else the expression itself."""
        for _ in range(_DEEPEST):
            if not isinstance(node, ast.Name):
                break
            node = next((scope.literals[node.id] for scope in reversed(self._stack) if node.id in scope.literals), node)
        return node

    def texts(self, node: ast.expr) -> set[str]:
        """Return the strings that stand in an expression, through names too."""
        texts: set[str] = set()
        waiting, seen = [node], {node}
        while waiting:
            for each in ast.walk(waiting.pop()):
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    texts.add(each.value)
                elif isinstance(each, ast.Name) and (behind := self.literal(each)) not in seen:
                    seen.add(behind)
                    waiting.append(behind)
        return texts

    def _opened(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> _Scope:
        scope = _Scope(node)
        if isinstance(node, ast.ClassDef):
            self._classes[node.name] = scope
            return scope
        arguments = [*node.args.posonlyargs, *node.args.args]
        others = [*node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        scope.local.update(each.arg for each in (*arguments, *others) if each is not None)
        around = self._stack[-1]
        static = any(_last(each) == "staticmethod" for each in node.decorator_list)
        if isinstance(around.node, ast.ClassDef) and arguments and not static:
            scope.self_name, scope.owner = arguments[0].arg, around
        for argument, default in zip(arguments[::-1], node.args.defaults[::-1], strict=False):
            chain = self.chain(default)
            if chain is not None:
                scope.bound[argument.arg] = chain
        return scope

    def _bind(self, target: ast.expr, value: ast.expr) -> Alias | None:
        chain = self.chain(value)
        base, parts = _parts(target)
        if not isinstance(base, ast.Name):
            return None
        scope, key = self._place([base.id, *parts])
        if not parts:
            if base.id not in scope.outer:
                scope.local.add(base.id)
            if isinstance(value, (ast.Dict, ast.List, ast.Tuple, ast.Constant)):
                scope.literals[base.id] = value
            else:
                scope.literals.pop(base.id, None)
        if chain is not None:
            scope.bound[key] = chain
            scope.doubtful.discard(key)
            return scope.node, key
        if key in scope.bound:
            scope.doubtful.add(key)
        return None

    def _place(self, parts: list[str]) -> tuple[_Scope, str]:
        """The scope and the key under which a name is bound."""
        for scope in reversed(self._stack):
            if scope.self_name and scope.self_name == parts[0] and len(parts) > 1 and scope.owner is not None:
                return scope.owner, ".".join(parts[1:])
            if parts[0] in scope.local:
                break
        scope = self._stack[-1]
        if parts[0] in scope.outer:
            scope = next((each for each in self._stack[-2::-1] if parts[0] in each.local), self._stack[0])
        return scope, ".".join(parts)

    def _found(self, base: ast.expr, parts: list[str]) -> tuple[_Scope, str, Chain] | None:
        """Where an expression's longest bound beginning is bound, and what follows it."""
        after: list[str] = []
        called = isinstance(base, ast.Call)
        if isinstance(base, ast.Call):
            after = parts
            base, parts = _parts(base.func)
        if not isinstance(base, ast.Name):
            return None
        whole = [base.id, *parts]
        least = 1
        if called:
            least = len(whole)
            whole[-1] += "()"
            whole += after
        for scope in reversed(self._stack):
            if isinstance(scope.node, ast.ClassDef) and scope is not self._stack[-1]:
                continue
            if scope.self_name and scope.self_name == base.id:
                return self._found_in_class(scope.owner, whole[1:], max(least - 1, 1))
            key = _longest(scope, whole, least)
            if key is not None:
                return scope, key, tuple(whole[key.count(".") + 1 :])
            if base.id in scope.local:
                return None
        return None

    def _found_in_class(self, scope: _Scope | None, whole: list[str], least: int) -> tuple[_Scope, str, Chain] | None:
        """Look in a class, then in the classes of this module that it is made from."""
        waiting = [scope] if scope is not None else []
        seen: set[ast.AST] = set()
        while waiting:
            one = waiting.pop(0)
            if one.node in seen:
                continue
            seen.add(one.node)
            key = _longest(one, whole, least)
            if key is not None:
                return one, key, tuple(whole[key.count(".") + 1 :])
            if isinstance(one.node, ast.ClassDef):
                waiting += [self._classes[name] for name in map(_last, one.node.bases) if name in self._classes]
        return None


class _Collector(ast.NodeVisitor):
    """Notes the names of all scopes before anything is read."""

    def __init__(self, names: Names) -> None:
        self.names = names

    @property
    def scope(self) -> _Scope:
        return self.names._stack[-1]  # noqa: SLF001  one thing in two classes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.scope.local.add(node.name)
        with self.names.inside(node):
            for each in node.body:
                self.visit(each)
            returned = [
                self.names.chain(each.value)
                for each in _returns(node)
                if each.value is not None and isinstance(node, _Function)
            ]
        chains = [chain for chain in returned if chain is not None]
        if chains and isinstance(node, _Function):
            self.scope.bound[_returned_key(node)] = chains[0]

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
    visit_ClassDef = visit_FunctionDef  # noqa: N815

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.scope.outer.update(node.names)
        self.scope.local.difference_update(node.names)

    visit_Nonlocal = visit_Global  # noqa: N815

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.scope.local.add(name)
            if isinstance(node, ast.ImportFrom) and (node.module, alias.name) == ("openai", "beta"):
                self.scope.bound[name] = ()

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> None:
        self.names.bind(node)
        self.generic_visit(node)

    visit_AnnAssign = visit_Assign  # noqa: N815
    visit_NamedExpr = visit_Assign  # noqa: N815

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store) and node.id not in self.scope.outer:
            self.scope.local.add(node.id)


def dotted(node: ast.expr) -> str:
    """Return an expression's names, joined by dots; ``[]`` and ``()`` for what stands in brackets."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return f"{dotted(node.value)}[]"
    if isinstance(node, ast.Call):
        return f"{dotted(node.func)}()"
    return node.id if isinstance(node, ast.Name) else ""


def _parts(node: ast.expr) -> tuple[ast.expr, list[str]]:
    """An expression's beginning, and the attributes that follow it."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        if node.attr not in _WRAPPERS:
            parts.append(node.attr)
        node = node.value
    return node, parts[::-1]


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    several = (ast.Tuple, ast.List)
    if isinstance(target, several) and isinstance(value, several) and len(target.elts) == len(value.elts):
        for one, other in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, other)
    else:
        yield target, value


def _returned_key(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    is_property = any(_last(each) in _PROPERTIES for each in node.decorator_list)
    return node.name if is_property else f"{node.name}()"


def _longest(scope: _Scope, whole: list[str], least: int) -> str | None:
    keys = (".".join(whole[:length]) for length in range(len(whole), least - 1, -1))
    return next((key for key in keys if key in scope.bound), None)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    """What a function returns itself, without the functions inside it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, (*_Scoped, ast.Lambda)):
            yield from _returns(child)
