"""Places: legal segments, matching, and the choice that the specification demands."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.spec.errors import ResourceExhausted
from moorage.spec.topology import choose, matches, overlaps, requirement_problem, segment_problems
from moorage.spec.types import Topology, TopologyRequirement


def zone(name: str, region: str = "R1") -> Topology:
    return Topology({"region": region, "zone": name})


Z1, Z2, Z3, Z4, Z5 = (zone(f"Z{number}") for number in range(1, 6))
REGION = Topology({"region": "R1"})


@pytest.mark.parametrize(
    "segments",
    [
        {"zone": "Z1"},
        {"com.company.example/zone": "Z1", "com.company.example/rack": "R-3_a.b"},
        {"topology.moorage.dev/node": "n" * 63},
        {"z" * 63: "a"},
        {"a" * 63 + "/zone": "x"},
    ],
)
def test_legal_segments(segments: dict[str, str]) -> None:
    assert segment_problems(segments) == []


@pytest.mark.parametrize(
    ("segments", "clause"),
    [
        pytest.param({"z" * 64: "a"}, "name that is not", id="long-name"),
        pytest.param({"-zone": "a"}, "name that is not", id="dash-first"),
        pytest.param({"zone_": "a"}, "name that is not", id="underscore-last"),
        pytest.param({"": "a"}, "name that is not", id="empty-key"),
        pytest.param({"a.b/": "a"}, "name that is not", id="empty-name"),
        pytest.param({"/zone": "a"}, "prefix", id="empty-prefix"),
        pytest.param({"Com.company/zone": "a"}, "prefix", id="capital-in-prefix"),
        pytest.param({"a..b/zone": "a"}, "prefix", id="empty-label"),
        pytest.param({"a/b/zone": "a"}, "prefix", id="two-slashes"),
        pytest.param({"a" * 64 + "/zone": "x"}, "prefix", id="long-prefix"),
        pytest.param({"zone": ""}, "the value ''", id="empty-value"),
        pytest.param({"zone": "v" * 64}, "the value", id="long-value"),
        pytest.param({"zone": "a/b"}, "the value", id="slash-in-value"),
        pytest.param({"zone": "a\n"}, "the value", id="newline"),
        pytest.param({"a.com/zone": "x", "b.com/rack": "y"}, "different prefixes", id="two-prefixes"),
        pytest.param({"Zone": "x", "zone": "y"}, "twice in different case", id="case"),
    ],
)
def test_illegal_segments(segments: dict[str, str], clause: str) -> None:
    (problem,) = segment_problems(segments)
    assert clause in problem


def test_places_overlap_when_one_lies_in_the_other() -> None:
    assert overlaps(Z1, Z1)
    assert overlaps(REGION, Z1)
    assert overlaps(Z1, REGION)
    assert overlaps(Topology({"ZONE": "Z1", "Region": "R1"}), Z1)
    assert not overlaps(Z1, Z2)
    assert not overlaps(Z1, zone("Z1", region="R2"))
    assert not overlaps(Topology({"zone": "Z1"}), Topology({"rack": "7"}))


@pytest.mark.parametrize(
    ("requirement", "accessible", "expected"),
    [
        pytest.param(None, (Z1,), True, id="no-requirement"),
        pytest.param(TopologyRequirement((Z1,)), (), True, id="reachable-everywhere"),
        pytest.param(TopologyRequirement((Z1,)), (Z1,), True, id="same"),
        pytest.param(TopologyRequirement((Z1, Z2)), (Z2, Z3), True, id="one-in-common"),
        pytest.param(TopologyRequirement((Z1, Z2)), (Z3,), False, id="none-in-common"),
        pytest.param(TopologyRequirement((Z1,)), (REGION,), True, id="broader-volume"),
        pytest.param(TopologyRequirement((REGION,)), (Z1,), True, id="broader-requirement"),
        pytest.param(TopologyRequirement(preferred=(Z1,)), (Z3,), True, id="preferences-refuse-nothing"),
    ],
)
def test_matches(requirement: TopologyRequirement | None, accessible: Sequence[Topology], expected: bool) -> None:
    assert matches(requirement, accessible) is expected


@pytest.mark.parametrize(
    ("requirement", "available", "count", "chosen"),
    [
        pytest.param(None, None, 1, (), id="nothing-to-choose-by"),
        pytest.param(None, (Z1, Z2), 1, (Z1,), id="no-requirement-takes-the-best"),
        pytest.param(TopologyRequirement((Z2, Z3)), None, 1, (Z2,), id="driver-cannot-tell"),
        pytest.param(TopologyRequirement((Z2, Z3), (Z3,)), None, 1, (Z3,), id="preferred-first"),
        pytest.param(TopologyRequirement((Z2, Z3), (Z3,)), (Z2,), 1, (Z2,), id="spec-example-1-fallback"),
        pytest.param(
            TopologyRequirement((Z2, Z3, Z4, Z5), (Z4, Z2)), (Z3, Z2, Z5), 1, (Z2,), id="spec-example-2-second-wish"
        ),
        pytest.param(
            TopologyRequirement((Z2, Z3, Z4, Z5), (Z4, Z2)), (Z5, Z3), 1, (Z3,), id="spec-example-2-rest-in-order"
        ),
        pytest.param(TopologyRequirement((Z2, Z3, Z4, Z5), (Z5, Z3)), None, 2, (Z5, Z3), id="spec-example-3"),
        pytest.param(
            TopologyRequirement((Z2, Z3, Z4, Z5), (Z5, Z3)), (Z2, Z4, Z5), 2, (Z5, Z2), id="spec-example-3-one-wish"
        ),
        pytest.param(
            TopologyRequirement((Z2, Z3, Z4, Z5), (Z5, Z3)), (Z2, Z4), 2, (Z2, Z4), id="spec-example-3-no-wish"
        ),
        pytest.param(TopologyRequirement((Z1, Z2)), (Z2, Z1), 2, (Z1, Z2), id="as-many-as-requisite"),
        pytest.param(TopologyRequirement((Z2,)), (Z4, Z2), 2, (Z2, Z4), id="more-than-requisite"),
        pytest.param(TopologyRequirement(preferred=(Z1,)), (Z4,), 1, (Z4,), id="wish-only-falls-back-anywhere"),
        pytest.param(TopologyRequirement(preferred=(Z1,)), (Z4, Z1), 1, (Z1,), id="wish-only"),
        pytest.param(TopologyRequirement((REGION,)), (zone("Z9", "R2"), Z4), 1, (Z4,), id="zone-in-a-region"),
        pytest.param(TopologyRequirement((Z2, Z3)), (REGION,), 1, (REGION,), id="region-wide-storage"),
        pytest.param(TopologyRequirement((REGION,)), (Z4, Z5), 2, (Z4, Z5), id="two-zones-in-a-region"),
        pytest.param(TopologyRequirement((Z2, Z3), (Z2, Z2)), None, 2, (Z2, Z3), id="repeated-wishes"),
    ],
)
def test_choose(
    requirement: TopologyRequirement | None,
    available: Sequence[Topology] | None,
    count: int,
    chosen: tuple[Topology, ...],
) -> None:
    assert choose(requirement, available, count=count) == chosen


@pytest.mark.parametrize(
    ("requirement", "available", "count"),
    [
        pytest.param(None, (), 1, id="no-place-at-all"),
        pytest.param(TopologyRequirement((Z1,)), (Z2,), 1, id="requisite-full"),
        pytest.param(TopologyRequirement((Z1,), (Z1,)), (), 1, id="nothing-available"),
        pytest.param(TopologyRequirement((Z1, Z2)), (Z1, Z3), 2, id="one-of-two-requisite"),
        pytest.param(TopologyRequirement((Z1, Z2, Z3)), (Z1, Z4), 2, id="only-one-of-three-allowed"),
        pytest.param(TopologyRequirement((Z1,)), (Z2, Z3), 2, id="more-wanted-but-requisite-missing"),
        pytest.param(TopologyRequirement((Z1,)), None, 2, id="more-than-known"),
    ],
)
def test_choose_fails_when_the_spec_says_so(
    requirement: TopologyRequirement | None, available: Sequence[Topology] | None, count: int
) -> None:
    with pytest.raises(ResourceExhausted):
        choose(requirement, available, count=count)


ZONES = [Z1, Z2, Z3, Z4, Z5]
places = st.lists(st.sampled_from(ZONES), unique_by=lambda place: place.segments["zone"], max_size=5)


@given(requisite=places, available=places, count=st.integers(1, 5), data=st.data())
def test_choice_keeps_the_rules_of_the_spec(
    requisite: list[Topology], available: list[Topology], count: int, data: st.DataObject
) -> None:
    wishes = data.draw(st.permutations(requisite or ZONES))[: data.draw(st.integers(0, 3))]
    requirement = TopologyRequirement(tuple(requisite), tuple(wishes))
    if not (requisite or wishes):
        return
    allowed = [place for place in available if not requisite or place in requisite]
    try:
        chosen = choose(requirement, available, count=count)
    except ResourceExhausted:
        if requisite and count >= len(requisite):
            assert len(allowed) < len(requisite) or len(available) < count
        else:
            assert len(allowed) < count
        return
    assert len({place.segments["zone"] for place in chosen}) == count
    assert all(place in available for place in chosen)
    if requisite and count < len(requisite):
        assert all(place in requisite for place in chosen)
    elif requisite:
        assert all(place in chosen for place in requisite)
    wanted = [place for place in wishes if place in available]
    assert list(chosen[: min(count, len(wanted))]) == wanted[:count]
    assert matches(requirement, chosen)


@pytest.mark.parametrize(
    ("requirement", "clause"),
    [
        pytest.param(TopologyRequirement(), "neither requisite nor preferred", id="empty"),
        pytest.param(TopologyRequirement((Topology(),)), "without segments", id="no-segments"),
        pytest.param(TopologyRequirement((Z1,), (Z2,)), "not one of its requisite", id="wish-that-is-not-allowed"),
        pytest.param(TopologyRequirement((Topology({"a": "x", "A": "x"}),)), "twice in different case", id="case"),
    ],
)
def test_bad_requirements(requirement: TopologyRequirement, clause: str) -> None:
    assert clause in (requirement_problem(requirement) or "")


def test_good_requirements() -> None:
    assert requirement_problem(TopologyRequirement((Z1, Z2), (Z2,))) is None
    assert requirement_problem(TopologyRequirement(preferred=(Z2,))) is None
    assert requirement_problem(TopologyRequirement((Z1,), (Topology({"Zone": "Z1", "Region": "R1"}),))) is None
