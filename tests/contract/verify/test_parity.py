"""The list of csi-sanity's cases is csi-sanity's own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from moorage.verify.parity import CASES

pytestmark = pytest.mark.contract


def test_every_case_of_csi_sanity_is_in_the_table(csi_sanity: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    flags = ("--ginkgo.dry-run", f"--ginkgo.json-report={report}", f"--csi.endpoint={tmp_path}/none.sock")
    subprocess.run([csi_sanity, *flags], capture_output=True, check=False, timeout=60)
    (suite,) = json.loads(report.read_text())
    cases = {
        " ".join([*spec["ContainerHierarchyTexts"], spec["LeafNodeText"]])
        for spec in suite["SpecReports"]
        if spec["LeafNodeType"] == "It"
    }
    assert cases == set(CASES)
