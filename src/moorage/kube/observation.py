"""What a client tells about its requests: a seam for metrics, and the metrics that client-go's users know.

`rest_client_requests_total` has client-go's labels; the seconds that the client held requests back are a
counter, because a rate of it above zero is the whole question.
"""

from __future__ import annotations

from typing import Protocol

from moorage.base.metrics import Metrics

__all__ = ["RequestMetrics", "RequestObserver", "Unobserved"]


class RequestObserver(Protocol):
    """Is told of every attempt, and of every time that a request was held back."""

    def attempted(self, *, verb: str, resource: str, method: str, code: str, duration_s: float) -> None:
        """One attempt ended: `code` is the HTTP status, or `<error>` when there was none."""
        ...

    def retried(self, *, verb: str, code: str) -> None:
        """An attempt that ended with `code` will be repeated."""
        ...

    def throttled(self, *, verb: str, wait_s: float) -> None:
        """The client's own limit held a request back."""
        ...


class Unobserved:
    """Nobody listens."""

    __slots__ = ()

    def attempted(self, *, verb: str, resource: str, method: str, code: str, duration_s: float) -> None:
        pass

    def retried(self, *, verb: str, code: str) -> None:
        pass

    def throttled(self, *, verb: str, wait_s: float) -> None:
        pass


class RequestMetrics:
    """Requests to one API server, counted under client-go's names; `host` is host and port of the server."""

    def __init__(self, metrics: Metrics, host: str) -> None:
        self._host = host
        self._requests = metrics.counter(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            labels=("code", "method", "host"),
        )
        self._retries = metrics.counter(
            "rest_client_request_retries_total",
            "Number of request retries, partitioned by status code, verb, and host.",
            labels=("code", "verb", "host"),
        )
        self._seconds = metrics.counter(
            "moorage_kube_request_seconds_total",
            "Time spent on requests to the API server, by verb and resource; a watch counts until it is open.",
            labels=("verb", "resource"),
        )
        self._throttled = metrics.counter(
            "moorage_kube_throttled_seconds_total",
            "Time that requests waited for the client's own limit of requests a second.",
            labels=("verb",),
        )

    def attempted(self, *, verb: str, resource: str, method: str, code: str, duration_s: float) -> None:
        self._requests.labels(code, method, self._host).inc()
        self._seconds.labels(verb, resource).inc(duration_s)

    def retried(self, *, verb: str, code: str) -> None:
        self._retries.labels(code, verb, self._host).inc()

    def throttled(self, *, verb: str, wait_s: float) -> None:
        self._throttled.labels(verb).inc(wait_s)
