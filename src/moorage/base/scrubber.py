"""Keep live secrets out of whatever is written down.

The layer that receives secrets registers their values for as long as it works with them; everything that
renders text for people passes it through the scrubber first. Matching is by value, so a secret is caught
wherever it turns up: in an exception text, in a program's stderr, in the argument of an event.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

STRIPPED: Final = "***stripped***"
MIN_SECRET_CHARS: Final = 4
_MIN_LINE_CHARS: Final = 8


class SecretScrubber:
    """Replaces every registered secret in a text by `***stripped***`; safe to use from several threads.

    Values shorter than four characters are let through: hiding them would only make texts unreadable. A
    secret is also found in its JSON-escaped, `repr` and base64 forms and, if it has several lines, line by
    line.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: Counter[str] = Counter()
        self._pattern: re.Pattern[str] | None = None
        self._stale = False

    @contextmanager
    def hiding(self, values: Iterable[str]) -> Iterator[None]:
        """Hide `values` until the block ends; blocks may nest and overlap."""
        forms = [form for value in values for form in _forms(value)]
        if not forms:
            yield
            return
        self._change(forms, 1)
        try:
            yield
        finally:
            self._change(forms, -1)

    def __call__(self, text: str) -> str:
        if self._stale:
            self._compile()
        pattern = self._pattern
        return text if pattern is None else pattern.sub(STRIPPED, text)

    def _change(self, forms: list[str], step: int) -> None:
        with self._lock:
            for form in forms:
                self._live[form] += step
                if not self._live[form]:
                    del self._live[form]
            self._stale = True

    def _compile(self) -> None:
        """Make the pattern when a text first needs it: most calls with secrets log nothing."""
        with self._lock:
            longest_first = sorted(self._live, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
            self._stale = False


def _forms(value: str) -> set[str]:
    """How a secret may be spelled in a text."""
    if len(value) < MIN_SECRET_CHARS:
        return set()
    raw = value.encode("utf-8", "surrogatepass")
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    forms.add(base64.b64encode(raw).decode())
    lines = value.splitlines()
    if len(lines) > 1:
        forms.update(line.strip() for line in lines if len(line.strip()) >= _MIN_LINE_CHARS)
    return forms
