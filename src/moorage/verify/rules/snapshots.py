"""Rules of area snapshots."""

from __future__ import annotations
