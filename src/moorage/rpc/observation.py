"""From finished calls to the histogram that dashboards for CSI already use (csi-lib-utils names)."""

from __future__ import annotations

from moorage.base.metrics import Metrics
from moorage.rpc.attempt import Observe
from moorage.rpc.status import GO_NAME
from moorage.spec.errors import Code


def observe_in(metrics: Metrics, *, driver_name: str, **extra_labels: str) -> Observe:
    """An `observe` for a client or server that fills `metrics`, with status codes spelled as Go spells them."""

    def observe(path: str, code: Code, duration_s: float) -> None:
        metrics.observe(
            duration_s,
            driver_name=driver_name,
            method_name=path,
            grpc_status_code=GO_NAME[code],
            **extra_labels,
        )

    return observe
