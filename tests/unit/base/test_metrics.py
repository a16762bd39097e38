"""Metrics come out under the names, labels and buckets that CSI dashboards expect."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from moorage.base.metrics import PLUGIN_OPERATIONS, SIDECAR_OPERATIONS, Metrics, process_start_time_s


@pytest.mark.parametrize("name", [PLUGIN_OPERATIONS, SIDECAR_OPERATIONS])
def test_operations_are_counted_by_driver_method_and_code(name: str) -> None:
    metrics = Metrics(name)
    metrics.observe(0.3, driver_name="d.example", method_name="/csi.v1.Controller/CreateVolume", grpc_status_code="OK")
    lines = metrics.render().decode().splitlines()
    labels = 'driver_name="d.example",grpc_status_code="OK"'
    ours = [line for line in lines if line.startswith(f"{name}_bucket")]
    bounds = [line.split('le="')[1].split('"')[0] for line in ours]
    wanted = "0.1 0.25 0.5 1.0 2.5 5.0 10.0 15.0 25.0 50.0 120.0 300.0 600.0 +Inf"
    assert bounds == wanted.split()
    assert [line.rpartition(" ")[2] for line in ours] == ["0.0", "0.0"] + ["1.0"] * 12
    assert f'{name}_sum{{{labels},method_name="/csi.v1.Controller/CreateVolume"}} 0.3' in lines
    assert not [line for line in lines if "_created" in line]


def test_two_instances_share_nothing() -> None:
    first, second = Metrics(PLUGIN_OPERATIONS), Metrics(PLUGIN_OPERATIONS)
    first.observe(1, driver_name="d", method_name="m", grpc_status_code="OK")
    assert b"csi_plugin_operations_seconds_count{" not in second.render()


def test_gauges_are_read_at_the_scrape_and_counters_count() -> None:
    metrics, values = Metrics(SIDECAR_OPERATIONS, extra_labels=("migrated",)), [1.0]
    metrics.gauge("pool_running", "Calls that run now.", read=lambda: values[-1])
    metrics.counter("retries_total", "Retries.", labels=("kind",)).labels(kind="x").inc(2)
    values.append(7.0)
    metrics.observe(1, driver_name="d", method_name="m", grpc_status_code="OK", migrated="false")
    text = metrics.render().decode()
    assert "pool_running 7.0" in text
    assert 'retries_total{kind="x"} 2.0' in text
    assert 'migrated="false"' in text


def test_process_start_time() -> None:
    assert 0 < time.time() - process_start_time_s() < 3600
    line = next(
        line for line in Metrics(PLUGIN_OPERATIONS).render().decode().splitlines() if line.startswith("process_")
    )
    assert float(line.split()[1]) == pytest.approx(process_start_time_s(), abs=2)


def test_library_is_loaded_only_when_used() -> None:
    code = "import sys, moorage.base.metrics; print('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
