"""What the probes of one instance amount to."""

from config.models.services import HealthCheck


class Verdict:
    """Healthy or not, by thresholds; ``healthy`` is None before the first probe.

    The first probe decides alone, as HAProxy has it (``init-state up``): whoever has just begun to
    probe knows nothing better. After that as many in a row as the threshold says turn it over.
    """

    __slots__ = ("_against", "healthy")

    def __init__(self) -> None:
        self.healthy: bool | None = None
        self._against = 0  # probes in a row that contradict it

    def add(self, passed: bool, check: HealthCheck) -> bool:
        """Count one probe; whether the verdict is another now."""
        if passed is self.healthy:
            self._against = 0
            return False
        self._against += 1
        if self.healthy is not None and self._against < _threshold(passed, check):
            return False
        self.healthy = passed
        self._against = 0
        return True


def _threshold(passed: bool, check: HealthCheck) -> int:
    return check.healthy_threshold if passed else check.unhealthy_threshold
