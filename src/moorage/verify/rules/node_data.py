"""Rules of area node_data."""

from __future__ import annotations
