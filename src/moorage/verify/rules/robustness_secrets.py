"""Rules of area robustness_secrets."""

from __future__ import annotations
