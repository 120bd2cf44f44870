"""What a server says of itself in Prometheus's text format, which needs no library."""

from __future__ import annotations

from collections import Counter

BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServingMeasures:
    """Requests by their status, and how long they took; from one thread."""

    def __init__(self) -> None:
        self._requests: Counter[int] = Counter()
        self._within: Counter[float] = Counter()
        self._seconds = 0.0

    def add(self, status: int, seconds: float) -> None:
        self._requests[status] += 1
        self._seconds += seconds
        self._within.update(bound for bound in BUCKETS_SECONDS if seconds <= bound)

    def text(self, inside: int, room: int) -> str:
        """inside: requests that are running or waiting, of which there is room for so many."""
        name, total = "tracewright_serving", self._requests.total()
        lines = [f"# HELP {name}_requests_total Requests to /invocations, by HTTP status; 499: the client left."]
        lines += [f"# TYPE {name}_requests_total counter"]
        lines += [f'{name}_requests_total{{status="{s}"}} {count}' for s, count in sorted(self._requests.items())]
        lines += [f"# HELP {name}_request_seconds From a request's headers to its answer."]
        lines += [f"# TYPE {name}_request_seconds histogram"]
        lines += [f'{name}_request_seconds_bucket{{le="{le}"}} {self._within[le]}' for le in BUCKETS_SECONDS]
        lines += [f'{name}_request_seconds_bucket{{le="+Inf"}} {total}']
        lines += [f"{name}_request_seconds_sum {self._seconds}", f"{name}_request_seconds_count {total}"]
        for gauge, value, text in (
            ("inside", inside, "Requests that are running or waiting."),
            ("room", room, "How many requests may run or wait at once."),
        ):
            lines += [f"# HELP {name}_{gauge} {text}", f"# TYPE {name}_{gauge} gauge", f"{name}_{gauge} {value}"]
        return "\n".join(lines) + "\n"
