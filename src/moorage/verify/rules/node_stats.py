"""Rules of area node_stats."""

from __future__ import annotations
