"""Requests show up in metrics under the names that dashboards for client-go use."""

from __future__ import annotations

from moorage.base.metrics import SIDECAR_OPERATIONS, Metrics
from moorage.kube.observation import RequestMetrics


def test_requests_are_counted_under_client_gos_names() -> None:
    metrics = Metrics(SIDECAR_OPERATIONS)
    observer = RequestMetrics(metrics, "10.96.0.1:443")
    for code in ("200", "200", "<error>"):
        observer.attempted(verb="list", resource="pods", method="GET", code=code, duration_s=0.5)
    observer.retried(verb="list", code="429")
    observer.throttled(verb="patch", wait_s=1.5)
    lines = metrics.render().decode().splitlines()
    assert 'rest_client_requests_total{code="200",host="10.96.0.1:443",method="GET"} 2.0' in lines
    assert 'rest_client_requests_total{code="<error>",host="10.96.0.1:443",method="GET"} 1.0' in lines
    assert 'rest_client_request_retries_total{code="429",host="10.96.0.1:443",verb="list"} 1.0' in lines
    assert 'moorage_kube_request_seconds_total{resource="pods",verb="list"} 1.5' in lines
    assert 'moorage_kube_throttled_seconds_total{verb="patch"} 1.5' in lines
