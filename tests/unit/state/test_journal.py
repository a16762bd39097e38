"""The journal keeps what it acknowledged, refuses what it must, and reads without waiting."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from moorage.state import place
from moorage.state.database import Database
from moorage.state.errors import (
    JournalClosed,
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalOnNetwork,
    JournalTooNew,
    JournalUnsafe,
    JournalUnusable,
    NameTaken,
)
from moorage.state.journal import Change, Delete, Journal, Put, Record


def record(
    record_id: str, *, name: str | None = None, parent: str | None = None, body: bytes = b"{}", kind: str = "volume"
) -> Record:
    return Record(kind, record_id, body, name, parent)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    journal = Journal.open(path, owner="a test")
    yield journal
    await journal.close()


async def reopened(journal: Journal) -> Journal:
    await journal.close()
    return Journal.open(journal.path, owner="a test")


async def test_what_is_written_is_read_and_survives_reopening(journal: Journal) -> None:
    first, second = record("v1", name="n1", parent="p", body=b"\x00\xff"), record("v2", parent="p")
    await journal.write(Put(first), Put(second))
    for current in (journal, again := await reopened(journal)):
        assert current.get("volume", "v1") == first
        assert current.by_name("volume", "n1") == first
        assert current.children("volume", "p") == [first, second]
        assert current.count("volume") == 2
        assert current.get("snapshot", "v1") is None
        assert current.by_name("volume", "v1") is None
        assert current.children("snapshot", "p") == []
    await again.close()


async def test_put_replaces_name_and_parent(journal: Journal) -> None:
    await journal.write(Put(record("v1", name="old", parent="a")))
    await journal.write(Put(record("v1", name="new", parent="b")))
    assert journal.by_name("volume", "old") is None
    assert journal.children("volume", "a") == []
    assert journal.by_name("volume", "new") == journal.get("volume", "v1") != None  # noqa: E711 chained on purpose
    await journal.write(Put(record("v2", name="old")))
    assert journal.count("volume") == 2


async def test_delete_frees_the_name_even_within_one_write(journal: Journal) -> None:
    await journal.write(Put(record("v1", name="n")))
    await journal.write(Delete("volume", "v1"), Delete("volume", "missing"), Put(record("v2", name="n")))
    assert journal.by_name("volume", "n") == record("v2", name="n")
    assert journal.get("volume", "v1") is None


async def test_taken_name_names_its_holder_and_undoes_the_whole_write(journal: Journal) -> None:
    await journal.write(Put(record("v1", name="n")))
    with pytest.raises(NameTaken, match="name n already belongs to volume v1") as caught:
        await journal.write(Put(record("v3")), Put(record("v2", name="n")))
    assert caught.value.held_by == "v1"
    assert journal.get("volume", "v3") is None
    await journal.write(Put(record("s1", name="n", kind="snapshot")))
    again = await reopened(journal)
    assert [item.id for item in again.page("volume")] == ["v1"]
    await again.close()


async def test_names_taken_in_one_batch_fail_only_their_own_writer(journal: Journal) -> None:
    results = await asyncio.gather(
        *(journal.write(Put(record(f"v{i}", name=f"n{i // 2}"))) for i in range(40)), return_exceptions=True
    )
    assert sum(isinstance(result, NameTaken) for result in results) == 20
    assert journal.count("volume") == 20
    assert journal.stats.commits < 40


async def test_pages_cover_everything_in_order_while_records_go(journal: Journal) -> None:
    ids = [f"v{i:03}" for i in range(25)]
    await journal.write(*(Put(record(record_id)) for record_id in reversed(ids)))
    seen = [item.id for item in journal.page("volume", limit=10)]
    await journal.write(Delete("volume", seen[-1]))
    seen += [item.id for item in journal.page("volume", seen[-1], 10)]
    seen += [item.id for item in journal.page("volume", seen[-1], 10)]
    assert seen == ids
    assert journal.page("volume", "zzz") == journal.page("other") == []


async def test_many_writers_share_commits_and_lose_nothing(journal: Journal) -> None:
    async def writer(number: int) -> None:
        for turn in range(10):
            await journal.write(Put(record(f"{number}-{turn}", body=b"%d" % turn)))
            mine = journal.get("volume", f"{number}-{turn}")
            assert mine is not None
            assert mine.body == b"%d" % turn

    await asyncio.gather(*(writer(number) for number in range(64)))
    assert journal.count("volume") == 640
    assert journal.stats.writes == 640
    assert journal.stats.commits <= 160
    again = await reopened(journal)
    assert again.count("volume") == 640
    await again.close()


async def test_readers_see_whole_transactions_only(journal: Journal) -> None:
    torn, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            pair = journal.page("volume")
            if len({item.body for item in pair}) > 1:
                torn.append(pair)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        await journal.write(Put(record("a", body=b"%d" % turn)), Put(record("b", body=b"%d" % turn)))
    stop.set()
    reader.join()
    assert torn == []


async def test_cancelled_caller_does_not_undo_its_write(journal: Journal) -> None:
    task = asyncio.create_task(journal.write(Put(record("v1"))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await reopened(journal)
    assert again.get("volume", "v1") is not None
    await again.close()


async def test_threads_write_too(journal: Journal) -> None:
    def body() -> None:
        journal.write_sync(Put(record("v1", name="n")))
        with pytest.raises(NameTaken):
            journal.write_sync(Put(record("v2", name="n")))

    await asyncio.to_thread(body)
    assert journal.count("volume") == 1


async def test_threads_share_commits_and_lose_nothing(journal: Journal) -> None:
    def writer(number: int) -> None:
        for turn in range(10):
            journal.write_sync(Put(record(f"{number}-{turn}")))
            assert journal.get("volume", f"{number}-{turn}") is not None

    async def task(number: int) -> None:
        for turn in range(10):
            await journal.write(Put(record(f"task-{number}-{turn}")))

    await asyncio.gather(*(asyncio.to_thread(writer, number) for number in range(4)), *map(task, range(32)))
    assert journal.count("volume") == 360
    assert journal.stats.writes == 360
    assert journal.stats.commits <= 120
    again = await reopened(journal)
    assert again.count("volume") == 360
    await again.close()


async def test_what_arrives_while_a_thread_commits_is_one_commit(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, opened, commit = threading.Event(), threading.Event(), Database.commit

    def held(database: Database, transactions: Sequence[Sequence[Change]]) -> list[JournalError | None]:
        entered.set()
        assert opened.wait(20)
        return commit(database, transactions)

    monkeypatch.setattr(Database, "commit", held)
    leader = asyncio.create_task(asyncio.to_thread(journal.write_sync, Put(record("first"))))
    await asyncio.to_thread(entered.wait, 20)
    tasks = [asyncio.create_task(journal.write(Put(record(f"task-{number}")))) for number in range(5)]
    thread = asyncio.create_task(asyncio.to_thread(journal.write_sync, Put(record("thread"))))
    async with asyncio.timeout(20):
        while len(journal._jobs) < 6:
            await asyncio.sleep(0.001)
    assert journal.count("volume") == 0
    opened.set()
    await asyncio.gather(leader, thread, *tasks)
    assert journal.count("volume") == 7
    assert journal.stats.commits == 2


async def test_a_write_in_a_thread_without_a_loop_blocks_there(journal: Journal) -> None:
    def body() -> None:
        with pytest.raises(StopIteration):
            journal.write(Put(record("v1"))).send(None)
        assert journal.count("volume") == 1

    await asyncio.to_thread(body)


async def test_close_waits_for_the_thread_that_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, opened, commit = threading.Event(), threading.Event(), Database.commit

    def held(database: Database, transactions: Sequence[Sequence[Change]]) -> list[JournalError | None]:
        entered.set()
        assert opened.wait(20)
        return commit(database, transactions)

    monkeypatch.setattr(Database, "commit", held)
    journal = Journal.open(path, owner="a test")
    leader = asyncio.create_task(asyncio.to_thread(journal.write_sync, Put(record("v1"))))
    await asyncio.to_thread(entered.wait, 20)
    waiting = asyncio.create_task(journal.write(Put(record("v2"))))
    await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close())
    async with asyncio.timeout(20):
        while not journal._closed:
            await asyncio.sleep(0.001)
    with pytest.raises(JournalClosed):
        journal.write_sync(Put(record("v3")))
    assert not closing.done()
    opened.set()
    await asyncio.gather(leader, waiting, closing)
    again = Journal.open(path, owner="a test")
    assert [item.id for item in again.page("volume")] == ["v1", "v2"]
    await again.close()


async def test_checkpoint_makes_the_main_file_complete(journal: Journal, tmp_path: Path) -> None:
    await journal.write(Put(record("v1")))
    await journal.checkpoint()
    copy = tmp_path / "copy.db"
    copy.write_bytes(Path(journal.path).read_bytes())
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT id FROM record").fetchall() == [("v1",)]
    connection.close()


async def test_closed_journal_refuses_writes_and_still_reads(path: Path) -> None:
    journal = Journal.open(path, owner="a test")
    pending = [asyncio.create_task(journal.write(Put(record(f"v{i}")))) for i in range(5)]
    await asyncio.sleep(0)
    await journal.close()
    await journal.close()
    await asyncio.gather(*pending)
    assert journal.count("volume") == 5
    with pytest.raises(JournalClosed):
        await journal.write(Put(record("late")))


async def test_wrong_types_are_refused_without_harm_to_others(journal: Journal) -> None:
    with pytest.raises(TypeError, match="bytes body"):
        await journal.write(Put(record("v1", body="text")))  # type: ignore[arg-type]  # that is the test
    with pytest.raises(UnicodeEncodeError):
        await journal.write(Put(record("v\udc80")))
    assert journal.count("volume") == 0


async def test_files_are_private(journal: Journal) -> None:
    directory = Path(journal.path).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


async def test_second_process_is_told_who_holds_it(journal: Journal) -> None:
    code = (
        "import sys\nfrom moorage.state.journal import Journal\nfrom moorage.state.errors import JournalLocked\n"
        "try:\n Journal.open(sys.argv[1], owner='second')\nexcept JournalLocked as error:\n print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, journal.path], capture_output=True, text=True, check=True)
    assert f"is in use by a test (pid {os.getpid()}); stop" in done.stdout
    with pytest.raises(JournalLocked):
        Journal.open(journal.path, owner="same process")


async def test_lock_is_free_after_close_and_after_a_failed_open(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is no database" * 100)
    for _ in range(2):
        with pytest.raises(JournalDamaged, match="move it aside"):
            Journal.open(path, owner="a test")
    path.unlink()
    await (await reopened(Journal.open(path, owner="a test"))).close()


async def test_broken_page_is_found_at_open(path: Path) -> None:
    journal = Journal.open(path, owner="a test")
    await journal.write(*(Put(record(f"v{i}", body=b"x" * 900)) for i in range(100)))
    await journal.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 4 * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"journal\.db is damaged"):
        Journal.open(path, owner="a test")


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        pytest.param("PRAGMA user_version = 99", JournalTooNew, "version 99 .* up to 1", id="newer-schema"),
        pytest.param("PRAGMA application_id = 5; CREATE TABLE t (x)", JournalDamaged, "another program", id="foreign"),
    ],
)
def test_what_we_did_not_write_is_left_alone(path: Path, script: str, error: type[JournalUnusable], words: str) -> None:
    path.parent.mkdir(mode=0o700)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        Journal.open(path, owner="a test")
    assert path.read_bytes()[100:] == before[100:]


def test_migrations_run_once_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(mode=0o700)
    first = Database(str(path))
    first.commit([[Put(record("v1"))]])
    first.close()
    extended = (*Database.__init__.__globals__["MIGRATIONS"], ("ALTER TABLE record ADD COLUMN extra TEXT",))
    monkeypatch.setattr("moorage.state.database.MIGRATIONS", extended)
    for _ in range(2):
        second = Database(str(path))
        assert [item.id for item in second.records()] == ["v1"]
        second.close()


@pytest.mark.parametrize(("magic", "name"), [(0x6969, "NFS"), (0xFE534D42, "SMB2"), (0x00C36400, "CephFS")])
def test_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, magic: int, name: str) -> None:
    monkeypatch.setattr(place, "file_system_magic", lambda _: magic)
    with pytest.raises(JournalOnNetwork, match=f"lies on {name}; move the state directory to a local disk"):
        Journal.open(path, owner="a test")
    assert not path.exists()


def test_file_system_type_is_read_from_the_kernel() -> None:
    assert place.file_system_magic("/proc") == 0x9FA0
    with pytest.raises(FileNotFoundError):
        place.file_system_magic("/no/such/path")


def test_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(JournalUnsafe, match="chmod go-w"):
        Journal.open(shared / "journal.db", owner="a test")


def test_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnusable, match="cannot use directory"):
        Journal.open(tmp_path / "file" / "journal.db", owner="a test")
