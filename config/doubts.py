"""What can be used, but hardly does what its owner wants: told by ``check``, and at the start."""

from collections.abc import Iterator

from config.faults import listed
from config.ineffective import ineffective
from config.models import Route
from config.paths import REST, segments_lie_below
from config.snapshot import Snapshot


def doubts(snapshot: Snapshot) -> list[str]:
    """A line for each; all of them can be meant so."""
    return [*_everybody_a_proxy(snapshot), *_ways_around(snapshot.routes), *ineffective(snapshot)]


def _everybody_a_proxy(snapshot: Snapshot) -> Iterator[str]:
    proxies = snapshot.options.trusted_proxies
    for network in () if isinstance(proxies, int) else proxies:
        if network.prefixlen == 0:
            yield (
                f"gateway.yaml: trusted_proxies: {network} trusts everybody, so that every client "
                "can say what its address is"
            )


def _ways_around(routes: tuple[Route, ...]) -> Iterator[str]:
    """Wildcards over a better protected path, which services may read in more spellings.

    ``/admin;a/x``, ``/admin%2Fx`` and ``/Admin/x`` do not match ``/admin/*``, but ``/*``.
    """
    for wide in routes:
        if wide.path.endswith(f"/{REST}"):
            below = [each for each in routes if _leads_around(wide, each)]
            if below:
                names = listed(each.label for each in below)
                yield (
                    f"routes.yaml: {wide.label} takes what may be read as a path of {names}, to "
                    "the same service, but does not demand the same (docs/policies.md, "
                    "Authorization)"
                )


def _leads_around(wide: Route, narrow: Route) -> bool:
    return (
        wide.service == narrow.service
        and wide is not narrow
        and wide.upstream_path is None
        and narrow.upstream_path is None
        and segments_lie_below(narrow.path, wide.path)
        and _share_methods(wide.methods, narrow.methods)
        and bool(_demands(narrow) - _demands(wide))
    )


def _share_methods(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    return not one or not other or not set(one).isdisjoint(other)


def _demands(route: Route) -> set[object]:
    """What a route asks of who comes."""
    demands = (("caller", route.auth_required), route.roles, route.scopes, route.ip_filter)
    return {each for each in demands if each not in (None, ("caller", False))}
