"""Rules of area listing_snapshots."""

from __future__ import annotations
