"""What a fresh process pays to import a part of Moorage: seconds and resident memory.

A node plugin has to start within half a second and stay below 60 MiB, so the figures of
`moorage.cli.serve` are the ones to watch. Each is the median of several fresh interpreters.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass

MODULES = (
    "moorage",
    "moorage.spec.messages",
    "moorage.state",
    "moorage.host",
    "moorage.rpc.server",
    "moorage.framework",
    "moorage.cli.serve",
)
PROBE = """
import time
started = time.perf_counter()
import {module}
seconds = time.perf_counter() - started
resident_kib = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS:"))
print(seconds, resident_kib)
"""


@dataclass(frozen=True, slots=True)
class Startup:
    """The cost of importing one module."""

    module: str
    import_s: float
    rss_mib: float


def exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def measure(module: str, *, runs: int) -> Startup:
    """The medians over `runs` fresh interpreters."""
    seconds, kib = [], []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(module=module)], capture_output=True, text=True, check=True
        )
        elapsed, resident = done.stdout.split()
        seconds.append(float(elapsed))
        kib.append(float(resident))
    return Startup(module, statistics.median(seconds), statistics.median(kib) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure import time and resident memory.")
    parser.add_argument("--runs", type=int, default=7, help="fresh interpreters per module (default 7)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = [measure(module, runs=options.runs) for module in MODULES if exists(module)]
    if options.json:
        print(json.dumps([asdict(startup) for startup in found], indent=2))
        return
    print(f"{'module':24} {'import ms':>10} {'RSS MiB':>8}")
    for startup in found:
        print(f"{startup.module:24} {startup.import_s * 1000:10.1f} {startup.rss_mib:8.1f}")


if __name__ == "__main__":
    main()
