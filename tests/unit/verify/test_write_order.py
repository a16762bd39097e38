from __future__ import annotations

from pathlib import Path

import pytest

from moorage.verify.write_order import Recorder, order_problem, read_records


@pytest.mark.parametrize(
    ("found", "at_least"),
    [
        pytest.param([[], []], 0, id="nothing"),
        pytest.param([[0, 2], [1, 3]], 4, id="all"),
        pytest.param([[0, 2, 4], [1, 3]], 2, id="one-more-in-the-first"),
    ],
)
def test_a_cut_at_one_instant_is_right(found: list[list[int]], at_least: int) -> None:
    assert order_problem(found, at_least=at_least) is None


@pytest.mark.parametrize(
    ("found", "at_least", "said"),
    [
        pytest.param([[0, 2], [1, 3, 5]], 4, "record 4 is missing in volume 1 although record 5", id="torn"),
        pytest.param([[0], []], 2, "2 records were on storage when the snapshot was asked for, and 1", id="too-old"),
        pytest.param([[], []], 1, "and 0 are in it", id="empty"),
        pytest.param([[1], [0]], 0, "volume 2 holds record 0, which was written to volume 1", id="mixed-up"),
    ],
)
def test_what_is_wrong_with_a_cut_is_told(found: list[list[int]], at_least: int, said: str) -> None:
    assert said in (order_problem(found, at_least=at_least) or "")


def test_records_are_written_in_turn_and_read_back(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in "abc"]
    recorder = Recorder(paths, most=10)
    recorder.run()
    found = [read_records(path) for path in paths]
    assert found == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert recorder.written == 10


def test_who_is_told_to_stop_writes_nothing_more(tmp_path: Path) -> None:
    recorder = Recorder([str(tmp_path / "a")])
    recorder.stop.set()
    recorder.run()
    assert recorder.written == 0


def test_a_record_cut_in_the_middle_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(b"000000000000000\n000000000000002\n0000000")
    assert read_records(str(path)) == [0, 2]


def test_what_follows_a_damaged_record_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(b"000000000000000\n" + b"\0" * 16 + b"000000000000004\n")
    assert read_records(str(path)) == [0]


def test_a_missing_file_has_no_records(tmp_path: Path) -> None:
    assert read_records(str(tmp_path / "none")) == []
