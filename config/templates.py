"""Which templates may be configured: the part of Jinja2 whose work and output can be bounded.

Only the syntax is looked at here, and nothing of a template is run: what it may reach while it runs
is for the dispatcher's sandbox to say. Left out are all constructs that gather output out of sight
(macros, blocks, ``filter``), that repeat themselves (recursion), that load other templates, and
whatever HTML is for.
"""

from collections.abc import Iterator
from typing import cast

from jinja2 import nodes, pass_context
from jinja2.exceptions import TemplateError
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

LONGEST = 10_000  # characters
LOOP, JOIN = "loop", "join"  # filters
BINARY_OPERATORS = frozenset({"+", "-", "*", "/", "//", "%"})
# fmt: off
FILTERS = frozenset({
    "abs", "capitalize", "count", "d", "default", "first", "float", "int", "join", "last", "length",
    "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round",
    "select", "selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper",
    "urlencode",
})
METHODS = frozenset({
    "capitalize", "count", "endswith", "find", "get", "isdigit", "items", "keys", "lower", "lstrip",
    "removeprefix", "removesuffix", "rsplit", "rstrip", "split", "startswith", "strip", "title",
    "upper", "values",
})
_ALLOWED = (
    nodes.Add, nodes.And, nodes.Assign, nodes.Call, nodes.Compare, nodes.Concat, nodes.CondExpr,
    nodes.Const, nodes.Dict, nodes.Div, nodes.Filter, nodes.FloorDiv, nodes.For, nodes.Getattr,
    nodes.Getitem, nodes.If, nodes.Keyword, nodes.List, nodes.Mod, nodes.Mul, nodes.Name, nodes.Neg,
    nodes.Not, nodes.Operand, nodes.Or, nodes.Output, nodes.Pair, nodes.Pos, nodes.Slice, nodes.Sub,
    nodes.TemplateData, nodes.Test, nodes.Tuple,
)
# fmt: on


class BadTemplate(ValueError):
    """A template can't be used; the text says what is allowed."""


@pass_context  # which keeps the compiler from working out constants
def _not_run(*_: object) -> None:
    """Stands for every filter."""


class _Grammar(SandboxedEnvironment):
    """Compiles, but works nothing out: not even ``{{ 'a' * 1000000000 }}``."""

    intercepted_binops = BINARY_OPERATORS

    def __init__(self) -> None:
        super().__init__(autoescape=False, optimized=False)
        self.globals.clear()
        self.filters = dict.fromkeys((*FILTERS, LOOP), _not_run)


def parse_template(text: str) -> nodes.Template:
    """The template's syntax tree. Raises BadTemplate.

    What is looped over goes through a filter LOOP, and ``~`` is a filter JOIN, so that a sandbox
    can have its hand in both.
    """
    if len(text) > LONGEST:
        raise BadTemplate(f"a template of up to {LONGEST} characters")
    grammar = _Grammar()
    try:
        tree = grammar.parse(text)
        for node in _below(tree):
            _check(node)
        _Rewriting().visit(tree)
        grammar.compile(tree)
    except TemplateError as error:
        raise BadTemplate(f"a Jinja2 template ({error})") from error
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise BadTemplate("a Jinja2 template that is less deeply nested") from error
    return tree


class _Rewriting(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 -- jinja2 looks for this name
        self.generic_visit(node)
        node.iter = _filtered(node.iter, LOOP)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes), JOIN)


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None)


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    for child in node.iter_child_nodes():
        yield child
        yield from _below(child)


def _check(node: nodes.Node) -> None:
    """Raises BadTemplate for what is not in the language."""
    if not isinstance(node, _ALLOWED):
        kind = type(node).__name__
        raise BadTemplate(f"a template of expressions, if, for and set, without {kind}")
    match node:
        case nodes.Call(node=called):
            if not isinstance(called, nodes.Getattr) or called.attr not in METHODS:
                raise BadTemplate(f"a template that calls only {_listed(METHODS)}")
        case nodes.Getattr(attr=attr) if attr.startswith("__") and attr.endswith("__"):
            raise BadTemplate(f"a template without attributes of Python's, as {attr} is")
        case nodes.Filter(name=name) if name not in FILTERS:
            raise BadTemplate(f"a template with the filters {_listed(FILTERS)}")
        case nodes.For(recursive=True):
            raise BadTemplate("a template whose loops are not recursive")
        case nodes.Name(name="self"):
            raise BadTemplate("a template without the name self, which Jinja2 keeps to itself")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
