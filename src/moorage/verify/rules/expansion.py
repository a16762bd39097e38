"""Rules of area expansion."""

from __future__ import annotations
