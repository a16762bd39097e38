"""The store remembers every moment since the last compaction, and what its listeners hear is what happened."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moorage.kube.resource import CONFIG_MAPS, LEASES, Resource
from moorage.testing.kube.store import Change, Store

KEYS = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "z"]))


def names(pairs: Any) -> dict[tuple[str, str], str]:
    return {key: stored.tree["data"] for key, stored in pairs}


class StoreMachine(RuleBasedStateMachine):
    """Any order of writes and compactions."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.moments: dict[int, dict[tuple[str, str], str]] = {self.store.revision: {}}
        self.now: dict[tuple[str, str], str] = {}
        self.heard: dict[tuple[str, str], str] = {}
        self.revisions: list[int] = []
        self.store.listen(self.hear)

    def hear(self, resource: Resource, change: Change) -> None:
        self.revisions.append(change.revision)
        if resource != LEASES:
            return
        assert (change.before is None) == (change.type == "ADDED")
        if change.type == "DELETED":
            assert change.after.tree["data"] == self.heard.pop(change.key)
        else:
            self.heard[change.key] = change.after.tree["data"]

    @rule(key=KEYS, data=st.text(max_size=3))
    def put(self, key: tuple[str, str], data: str) -> None:
        stored = self.store.put(LEASES, key, {"metadata": {"name": key[1]}, "data": data})
        assert stored.tree["metadata"]["resourceVersion"] == str(stored.revision)
        self.now[key] = data
        self.moments[stored.revision] = dict(self.now)

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.now)))
        del self.now[key]
        self.moments[self.store.remove(LEASES, key).revision] = dict(self.now)

    @rule()
    def put_elsewhere(self) -> None:
        stored = self.store.put(CONFIG_MAPS, ("a", "other"), {"metadata": {"name": "other"}})
        self.moments[stored.revision] = dict(self.now)

    @rule()
    def compact(self) -> None:
        self.store.compact()
        self.moments = {self.store.revision: dict(self.now)}

    @invariant()
    def every_moment_can_be_seen_again(self) -> None:
        assert self.store.oldest(LEASES) <= min(self.moments)
        for revision, expected in self.moments.items():
            assert names(self.store.objects_at(LEASES, revision)) == expected

    @invariant()
    def listeners_know_the_present(self) -> None:
        assert names(self.store.objects(LEASES)) == self.now == self.heard
        assert self.revisions == sorted(set(self.revisions))

    @invariant()
    def keys_are_sorted_and_of_their_namespace(self) -> None:
        keys = [key for key, _ in self.store.objects(LEASES, "a")]
        assert keys == sorted(key for key in self.now if key[0] == "a")


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_old_changes_are_forgotten_by_and_by() -> None:
    store = Store(history_limit=10)
    revisions = [store.put(LEASES, ("", "x"), {"metadata": {"name": "x"}}).revision for _ in range(100)]
    oldest = store.oldest(LEASES)
    assert revisions[-21] <= oldest <= revisions[-11]
    assert len(store.changes_after(LEASES, oldest)) == sum(revision > oldest for revision in revisions)


@given(count=st.integers(min_value=1, max_value=20), since=st.integers(min_value=0, max_value=20))
def test_changes_after_a_revision_are_those_and_no_others(count: int, since: int) -> None:
    store = Store()
    revisions = [store.put(LEASES, ("", "x"), {"metadata": {"name": "x"}}).revision for _ in range(count)]
    start = revisions[0] - 1 + since
    assert [change.revision for change in store.changes_after(LEASES, start)] == [r for r in revisions if r > start]
