"""Rules of area snapshots_data."""

from __future__ import annotations
