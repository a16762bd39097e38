"""One cluster for all tests of the tier; each test brings its own namespace."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster of one node. Its directory has a short name, for the sockets in it."""
    directory = Path(tempfile.mkdtemp(prefix="mk-", dir="/tmp"))
    try:
        with Cluster(directory) as found:
            yield found
    finally:
        shutil.rmtree(directory, ignore_errors=True)
