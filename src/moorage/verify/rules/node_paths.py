"""Rules of area node_paths."""

from __future__ import annotations
