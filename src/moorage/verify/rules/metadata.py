"""Rules of area metadata."""

from __future__ import annotations
