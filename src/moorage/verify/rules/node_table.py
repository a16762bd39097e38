"""Rules of area node_table."""

from __future__ import annotations
