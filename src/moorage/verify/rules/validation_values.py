"""Rules of area validation_values."""

from __future__ import annotations
