"""What proxies say about whom a request came from: X-Forwarded-For, and Forwarded (RFC 7239).

Each proxy adds its own peer behind what it was given, so only the right end of a list can be
believed. Nodes are given from there: the nearest first.
"""

import re

from broker.messages import Headers
from ingress.addresses import Address, parse_address

_UNREADABLE = "unknown"  # what a proxy itself says where it does not know (RFC 7239 section 6.2)

_TCHAR = r"!#$%&'*+.^_`|~0-9A-Za-z-"  # RFC 9110 section 5.6.2
# A pair of a forwarded-element and what ends it (RFC 7239 section 4). Many proxies forget to quote
# a port or an IPv6 address, which can't be taken for anything else.
_pair = re.compile(
    rf"""[ \t]*(?:([{_TCHAR}]+)=(?:"((?:[^"\\]|\\.)*)"|([\[\]:{_TCHAR}]+)))?[ \t]*([;,]|\Z)"""
).match
_escaped = re.compile(r"\\(.)").sub
# RFC 7239 section 6; in X-Forwarded-For some proxies add the port, too.
_node_with_port = re.compile(
    r"(?:\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
).fullmatch


def node_address(node: str) -> Address | None:
    """The address of a node; a port may stand behind it, IPv6 in brackets. None for other names."""
    match = _node_with_port(node)
    return parse_address((match[1] or match[2]) if match else node)


def forwarded_nodes(headers: Headers) -> dict[str, list[str]]:
    """The nodes that each of the two fields names, where it is there, by its name.

    A field that breaks its own grammar names a single node that has no address.
    """
    by_commas: list[bytes] = []
    elements: list[bytes] = []
    for name, value in headers:
        match name.lower():
            case b"x-forwarded-for":
                by_commas.append(value)
            case b"forwarded":
                elements.append(value)
    found = {}
    if by_commas:
        found["X-Forwarded-For"] = _listed(_joined(by_commas))
    if elements:
        found["Forwarded"] = _described(_joined(elements))
    return found


def _joined(values: list[bytes]) -> str:
    """Several fields of a name are one list (RFC 9110 section 5.3)."""
    return b",".join(values).decode("latin-1")


def _listed(text: str) -> list[str]:
    nodes = [node.strip(" \t") for node in text.split(",")]
    return [node for node in reversed(nodes) if node]


def _described(text: str) -> list[str]:
    nodes: list[str] = []
    element: dict[str, str] = {}
    at, separator = 0, ","
    while separator:
        match = _pair(text, at)
        if match is None or (name := (match[1] or "").lower()) in element:
            return [_UNREADABLE]
        if name:
            element[name] = match[3] or _escaped(r"\1", match[2] or "")
        at, separator = match.end(), match[4]
        if separator != ";" and element:
            nodes.append(element.get("for", _UNREADABLE))
            element = {}
    return nodes[::-1]
