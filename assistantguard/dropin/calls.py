"""Reading the calls to the old API from a program's syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from assistantguard.dropin.names import Alias, Chain, Names, dotted
from assistantguard.dropin.surface import (
    ADDRESSES,
    FIELDS,
    METHODS,
    NAMESPACES,
    OTHER_NAMESPACES,
    PARAMETERS,
    SERVED,
    UNKNOWN,
    MethodRow,
    ParameterRow,
    Verdict,
    worst,
)
from assistantguard.models.values import Value

__all__ = ["Kind", "Remark", "Use", "uses"]

Kind = Literal["call", "address", "field", "unfollowed", "kept"]

_BY_NAME = {row.name: row for row in METHODS}
_WHOLE = {row.name.removesuffix(".*"): row for row in METHODS if row.name.endswith(".*")}
_RESOURCES = {
    ".".join(parts[:length])
    for parts in (row.name.removesuffix(".*").split(".") for row in METHODS)
    for length in range(1, len(parts))
} | set(_WHOLE)
_ADDRESS = re.compile(r"openai\S*/(?:assistants|threads)\b")
_HANDLERS = {"AssistantEventHandler", "AsyncAssistantEventHandler"}
_KEPT = re.compile(
    r"openai\.(?:types\.beta(?!\.(?:(?:agent|" + "|".join(OTHER_NAMESPACES) + r")\b|beta_|agent_|response_|Beta|Agent))"
    r"|lib\.streaming\._assistants|resources\.beta\.(?:assistants|threads))\b"
)
_UNFOLLOWED = "It is handed on here: what is called there is not in this list."
_KEEP = "Keep it: the SDK's own types and event handlers work as they did."


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Remark(Value):
    """What differs in a use of the old API, and what to do."""

    about: str
    """A keyword argument; empty: the use itself."""
    verdict: Verdict | None
    """None where nothing can or need be said."""
    note: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Use(Value):
    """A place where a program uses the old API."""

    kind: Kind
    """``call``: a method that is called, or handed on to be called. ``address``: an address of the old API, written
    out. ``field``: a field that differs. ``unfollowed``: a part of the client that is handed on. ``kept``: an import
    that works as it did."""
    name: str
    line: int
    column: int
    """From 1, in bytes of UTF-8."""
    remarks: tuple[Remark, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The worst of what there is to remark; None for what is unfollowed or kept."""
        if self.kind in {"unfollowed", "kept"}:
            return None
        return worst(remark.verdict for remark in self.remarks)


def uses(tree: ast.Module) -> list[Use]:
    """Return every use of the old API in a module, in the order of the text."""
    names = Names(tree)
    reader = _Reader(names)
    reader.visit(tree)
    unused = [use for alias, use in reader.aliases if not names.is_used(alias)]
    found = sorted({*reader.found, *unused}, key=lambda use: (use.line, use.column))
    if any(use.kind != "field" for use in found):
        return found
    return []


class _Reader(ast.NodeVisitor):
    """Visits every expression once; `Names` says what it means there."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.found: list[Use] = []
        self.aliases: list[tuple[Alias, Use]] = []
        """Names for parts of the client; one that nobody uses here may be used elsewhere."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        for expression in self.names.outside(node):
            self.visit(expression)
        with self.names.inside(node):
            for statement in node.body:
                self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  the names are those of ast.NodeVisitor
    visit_ClassDef = visit_FunctionDef  # noqa: N815

    def visit_Import(self, node: ast.Import) -> None:
        self._kept([alias.name for alias in node.names], node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        self._kept([f"{node.module}.{alias.name}" for alias in node.names], node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.visit(target)
        for value, alias in self.names.bind(node):
            use = self._part(value)
            if alias is None or use is None:
                self.visit(value)
            else:
                self.aliases.append((alias, use))
                self._visit_base(value)

    visit_AnnAssign = visit_Assign  # noqa: N815
    visit_NamedExpr = visit_Assign  # noqa: N815

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        use = self._part(node.value)
        if use is None:
            self.visit(node.value)
        else:
            self.aliases.append((self.names.returned(), use))
            self._visit_base(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if not self._method(node.func, node):
            self.visit(node.func)
        for each in (*node.args, *node.keywords):
            self.visit(each)

    def visit_Attribute(self, node: ast.Attribute | ast.Name) -> None:
        if self._method(node, None):
            return
        self._field(node)
        base: ast.expr = node
        while isinstance(base, (ast.Attribute, ast.Subscript)):
            if isinstance(base, ast.Subscript):
                self.visit(base.slice)
            base = base.value
        if not isinstance(base, ast.Name):
            self.visit(base)

    def _visit_base(self, node: ast.expr) -> None:
        """Read what an expression's attributes are taken from, where that is no mere name."""
        while isinstance(node, ast.Attribute):
            node = node.value
        if not isinstance(node, ast.Name):
            self.visit(node)

    visit_Name = visit_Attribute  # noqa: N815

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._address(node.value, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            else:
                text += "{}"
                self.visit(part)
        self._address(text, node)

    def _method(self, node: ast.expr, call: ast.Call | None) -> bool:
        """Note a use of a method, or of what methods belong to; False if it is neither."""
        if not isinstance(node, (ast.Attribute, ast.Name)) or not isinstance(node.ctx, ast.Load):
            return False
        chain = self.names.chain(node)
        if not chain or chain[0] not in NAMESPACES:
            return False
        name = ".".join(chain)
        row = _row(chain)
        sure = self.names.sure(node)
        if row is None and call is not None and sure and _is_unknown(chain):
            row = UNKNOWN
        if row is not None:
            remarks = _remarks(row)
            if call is not None:
                remarks += [Remark(each.name, each.verdict, each.note) for each in self._differing(name, call)]
            self._add("call", f"client.beta.{name}", node, remarks)
        elif name in _RESOURCES and call is None and sure:
            self._add("unfollowed", f"client.beta.{name}", node, [Remark("", None, _UNFOLLOWED)])
        else:
            return False
        self._visit_base(node)
        return True

    def _part(self, node: ast.expr) -> Use | None:
        """What there is to say of a part of the client that is given a name, if nobody uses the name."""
        chain = self.names.chain(node)
        if not chain:
            return None
        name = f"client.beta.{'.'.join(chain)}"
        row = _row(chain)
        if row is not None:
            return Use("call", name, node.lineno, node.col_offset + 1, tuple(_remarks(row)))
        if ".".join(chain) in _RESOURCES:
            remark = Remark("", None, _UNFOLLOWED)
            return Use("unfollowed", name, node.lineno, node.col_offset + 1, (remark,))
        return None

    def _differing(self, method: str, call: ast.Call) -> Iterator[ParameterRow]:
        given = dict(self._arguments(call.keywords))
        for row in PARAMETERS:
            value = given.get(row.name)
            if method not in row.methods or value is None:
                continue
            texts = self.names.texts(value)
            if (not row.value or row.value in texts) and row.unless not in texts:
                yield row

    def _arguments(self, keywords: Iterable[ast.keyword]) -> Iterator[tuple[str, ast.expr]]:
        for keyword in keywords:
            if isinstance(keyword.value, ast.Constant) and keyword.value.value is None:
                continue
            if keyword.arg is not None:
                yield keyword.arg, keyword.value
                continue
            spread = self.names.literal(keyword.value)
            if isinstance(spread, ast.Dict):
                for key, value in zip(spread.keys, spread.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, value

    def _field(self, node: ast.expr) -> None:
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            return
        text = dotted(node)
        if text in {f"openai.{name}" for name in _HANDLERS}:
            self._add("kept", text, node, [Remark("", None, _KEEP)])
        for row in FIELDS:
            if row.read_as and re.search(row.read_as, text):
                self._add("field", row.name, node, [Remark("", row.verdict, row.note)])

    def _kept(self, names: Iterable[str], node: ast.stmt) -> None:
        kept = [
            name
            for name in names
            if _KEPT.match(name) or (name.startswith("openai.") and name.rpartition(".")[2] in _HANDLERS)
        ]
        if kept:
            self._add("kept", ", ".join(kept), node, [Remark("", None, _KEEP)])

    def _address(self, text: str, node: ast.expr) -> None:
        if _ADDRESS.search(text):
            self._add("address", text, node, [Remark("", ADDRESSES.verdict, ADDRESSES.note)])

    def _add(self, kind: Kind, name: str, node: ast.expr | ast.stmt, remarks: Iterable[Remark]) -> None:
        self.found.append(Use(kind, name, node.lineno, node.col_offset + 1, tuple(remarks)))


def _row(chain: Chain) -> MethodRow | None:
    row = _BY_NAME.get(".".join(chain))
    if row is not None:
        return row
    wholes = (_WHOLE.get(".".join(chain[:length])) for length in range(1, len(chain)))
    return next((row for row in wholes if row is not None), None)


def _remarks(row: MethodRow) -> list[Remark]:
    return [] if row.verdict == SERVED else [Remark("", row.verdict, row.note)]


def _is_unknown(chain: Chain) -> bool:
    return ".".join(chain[:-1]) in _RESOURCES and not chain[-1].startswith("_") and ".".join(chain) not in _RESOURCES
