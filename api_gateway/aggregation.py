"""One page of metrics out of the pages of several processes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_ADDITIVE = frozenset({"counter", "histogram", "summary"})


@dataclass(slots=True)
class _Family:
    documentation: str
    type: str
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def add(self, metric: Metric, labels: Mapping[str, str]) -> None:
        for sample in metric.samples:
            key = (sample.name, tuple({**sample.labels, **labels}.items()))
            self.values[key] = self.values.get(key, 0.0) + sample.value

    def as_metric(self, name: str) -> Metric:
        metric = Metric(name, self.documentation, self.type)
        for (sample, labels), value in self.values.items():
            metric.add_sample(sample, dict(labels), value)
        return metric


_Families = dict[str, _Family]


def _add(families: _Families, metrics: Iterable[Metric], labels: Mapping[str, str]) -> None:
    for metric in metrics:
        family = families.get(metric.name)
        if family is None:
            family = families[metric.name] = _Family(metric.documentation, metric.type)
        family.add(metric, {} if metric.type in _ADDITIVE else labels)


class Aggregation(Collector):
    """Counters and histograms add up; gauges keep one value for each process, labelled ``process``.

    That is the way of Prometheus' own multi-process mode, without its cost for each increment. What
    a process that ended had counted, as last seen, stays in the sums, so that they never fall.
    """

    def __init__(self) -> None:
        self._pages: dict[str, list[Metric]] = {}
        self._retired: _Families = {}

    def update(self, process: str, page: str) -> None:
        """Take a process's newest page (Prometheus text format) instead of its last one."""
        self._pages[process] = list(text_string_to_metric_families(page))

    def retire(self, process: str) -> None:
        """The process has ended; the one that follows under its name counts from zero."""
        page = self._pages.pop(process, [])
        _add(self._retired, (metric for metric in page if metric.type in _ADDITIVE), {})

    def collect(self) -> Iterable[Metric]:
        """The families of all processes, merged."""
        families: _Families = {
            name: _Family(family.documentation, family.type, dict(family.values))
            for name, family in self._retired.items()
        }
        for process, metrics in self._pages.items():
            _add(families, metrics, {"process": process})
        for name, family in families.items():
            yield family.as_metric(name)
