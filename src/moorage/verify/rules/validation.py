"""Rules of area validation."""

from __future__ import annotations
