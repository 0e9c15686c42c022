"""Who came and who went."""

from dispatcher.discovery.changes import described
from dispatcher.service_discovery import instance_at


def test_names_are_told_by_what_became_of_them() -> None:
    """Came, gone, or still there with another weight; what stays is not told."""
    a, b, c = (instance_at(f"http://{name}") for name in "abc")
    heavy = instance_at("http://a", 2)
    assert described((a, b), (heavy, c)) == "came: http://c; gone: http://b; changed: http://a"
    assert described((a,), (a,)) == ""


def test_a_line_has_an_end() -> None:
    """However many come at once."""
    many = [instance_at(f"http://{number}") for number in range(1000)]
    told = described((), many)
    assert told.endswith("http://4 and 995 more")
