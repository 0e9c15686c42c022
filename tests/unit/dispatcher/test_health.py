"""What a dispatcher makes of the fleet's reports."""

from collections.abc import Callable

import pytest

from broker.events import HealthReported, StateWanted
from dispatcher.health import FleetHealth


def report(
    sequence: int = 1, node: str = "w1", service: str = "users", **healthy: bool
) -> HealthReported:
    """On the instances a, b, ..., valid for 60 seconds."""
    return HealthReported(
        service=service, node=node, sequence=sequence, valid_for=60.0, healthy=healthy
    )


class Alarm:
    """One call that was asked for later."""

    def __init__(self, seconds: float, callback: Callable[[str], None], service: str) -> None:
        self.seconds = seconds
        self.cancelled = False
        self._callback = callback
        self._service = service

    def cancel(self) -> None:
        self.cancelled = True

    def ring(self) -> None:
        assert not self.cancelled
        self._callback(self._service)


class Scene:
    """What is passed on, and the alarms that were set."""

    def __init__(self) -> None:
        self.probed: dict[tuple[str, str], bool] = {}
        self.told = 0
        self.alarms: list[Alarm] = []
        self.health = FleetHealth(self._set_probed, self._later)

    def _set_probed(self, service: str, instance: str, healthy: bool) -> None:
        self.probed[service, instance] = healthy
        self.told += 1

    def _later(self, seconds: float, callback: Callable[[str], None], service: str) -> Alarm:
        self.alarms.append(Alarm(seconds, callback, service))
        return self.alarms[-1]

    @property
    def out(self) -> str:
        """The instances of users that are said to be unhealthy."""
        names = (name for (service, name), healthy in self.probed.items() if not healthy)
        return "".join(sorted(names))


def test_each_report_is_passed_on() -> None:
    """Every instance's verdict, as it stands in the last report."""
    scene = Scene()
    scene.health.hear(report(1, a=True, b=False))
    assert scene.probed == {("users", "a"): True, ("users", "b"): False}
    scene.health.hear(report(2, a=False, b=True))
    assert scene.probed == {("users", "a"): False, ("users", "b"): True}


def test_who_is_not_named_any_more_is_unknown() -> None:
    """A report tells all of a service: of who is missing in it nothing is known, which is well."""
    scene = Scene()
    scene.health.hear(report(1, a=False, b=False))
    scene.health.hear(report(2, b=False))
    assert scene.out == "b"


def test_services_are_apart() -> None:
    """News of one changes nothing for another; other events are none of its business."""
    scene = Scene()
    scene.health.hear(report(1, a=False))
    scene.health.hear(report(2, service="orders", b=True))
    scene.health.hear(StateWanted(kind="health"))
    assert scene.probed == {("users", "a"): False, ("orders", "b"): True}


def test_old_news_of_one_prober_is_ignored() -> None:
    """Reports that overtook each other don't turn the clock back; another prober counts anew."""
    scene = Scene()
    scene.health.hear(report(5, a=False))
    scene.health.hear(report(4, a=True))
    scene.health.hear(report(5, a=True))
    assert scene.out == "a"
    scene.health.hear(report(1, "w2", a=True))
    assert scene.out == ""


def test_verdicts_age_to_unknown(caplog: pytest.LogCaptureFixture) -> None:
    """When nobody probes any more, nothing stays out for good; the log says why."""
    scene = Scene()
    scene.health.hear(report(1, a=False, b=True))
    assert scene.alarms[0].seconds == 60.0
    scene.health.hear(report(2, a=False, b=True))
    assert scene.alarms[0].cancelled
    scene.alarms[1].ring()
    assert scene.out == ""
    assert "users: health checks have been silent for 60 s" in caplog.text
    scene.health.hear(report(1, a=False))  # nothing is known that it could be older than
    assert scene.out == "a"


def test_new_instances_are_told_what_was_heard_before() -> None:
    """A configuration may bring an instance after the report on it."""
    scene = Scene()
    scene.health.hear(report(1, a=False, b=True))
    scene.probed.clear()
    scene.health.repeat()
    assert scene.probed == {("users", "a"): False, ("users", "b"): True}


def test_who_has_left_waits_for_nothing() -> None:
    """No alarm is left behind."""
    scene = Scene()
    scene.health.hear(report(1, a=False))
    scene.health.hear(report(2, service="orders", a=False))
    scene.health.close()
    assert all(alarm.cancelled for alarm in scene.alarms)
