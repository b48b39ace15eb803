"""A histogram for what happens once per intent.

``prometheus_client``'s own takes a lock and walks its buckets for each observation, about two microseconds: as much as
the parsing of an intent. Here a whole batch is counted in one call. What must stay true: each series has one writing
thread; a scrape from another thread sees buckets that add up.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Series:
    """The observations with one value of the label. ``bounds`` are upper bounds, ascending, without infinity."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count ``value``, ``count`` times."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._sum += value * count

    def observe_many(self, values: Iterable[float]) -> None:
        """Count each of ``values``."""
        bounds, counts, total = self._bounds, self._counts, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self._sum += total

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return the buckets as Prometheus wants them, each with those below it, and the sum of all values."""
        counts, total = list(self._counts), self._sum
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            buckets.append((floatToGoString(bound), float(below)))  # type: ignore[no-untyped-call]  # the library's own lack
        return buckets, total


class IntentHistogram(Collector):
    """A histogram with one label, whose values are all known from the start."""

    def __init__(
        self, name: str, documentation: str, label: str, values: Iterable[str], bounds: Sequence[float]
    ) -> None:
        assert list(bounds) == sorted(set(bounds)), "upper bounds ascend"
        self._name, self._documentation, self._label = name, documentation, label
        self._series = {value: Series(bounds) for value in values}

    def labels(self, value: str) -> Series:
        """Return the series of a label value; ``KeyError`` for one that was not declared."""
        return self._series[value]

    def register(self, registry: CollectorRegistry) -> None:
        """Let ``registry`` collect this histogram."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield what a scrape sees."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, series in self._series.items():
            buckets, total = series.cumulative()
            family.add_metric([value], buckets=buckets, sum_value=total)
        yield family
