"""Paths are those of the API server, and no name can turn one path into another."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kube import resource as resources
from moorage.kube.resource import (
    KNOWN,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SERVICE_ACCOUNTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOTS,
    Resource,
)


@pytest.mark.parametrize(
    ("resource", "parts", "path"),
    [
        pytest.param(PERSISTENT_VOLUMES, (), "/api/v1/persistentvolumes", id="cluster-collection"),
        pytest.param(PERSISTENT_VOLUMES, ("", "pv-1"), "/api/v1/persistentvolumes/pv-1", id="cluster-object"),
        pytest.param(PERSISTENT_VOLUME_CLAIMS, (), "/api/v1/persistentvolumeclaims", id="all-namespaces"),
        pytest.param(
            PERSISTENT_VOLUME_CLAIMS,
            ("shop", "db", "status"),
            "/api/v1/namespaces/shop/persistentvolumeclaims/db/status",
            id="status",
        ),
        pytest.param(
            VOLUME_SNAPSHOTS,
            ("shop",),
            "/apis/snapshot.storage.k8s.io/v1/namespaces/shop/volumesnapshots",
            id="group-namespace",
        ),
        pytest.param(
            SERVICE_ACCOUNTS, ("shop", "db", "token"), "/api/v1/namespaces/shop/serviceaccounts/db/token", id="token"
        ),
        pytest.param(
            PERSISTENT_VOLUMES, ("", "a b?c#d"), "/api/v1/persistentvolumes/a%20b%3Fc%23d", id="percent-encoded"
        ),
        pytest.param(
            VOLUME_GROUP_SNAPSHOTS.at("v1beta2"),
            ("shop",),
            "/apis/groupsnapshot.storage.k8s.io/v1beta2/namespaces/shop/volumegroupsnapshots",
            id="other-version",
        ),
    ],
)
def test_path(resource: Resource, parts: tuple[str, ...], path: str) -> None:
    assert resource.path(*parts) == path


@pytest.mark.parametrize(
    ("resource", "parts"),
    [
        pytest.param(PERSISTENT_VOLUMES, ("shop", "pv"), id="namespace-of-cluster-kind"),
        pytest.param(PERSISTENT_VOLUME_CLAIMS, ("", "db"), id="object-without-namespace"),
        pytest.param(PERSISTENT_VOLUMES, ("", "", "status"), id="subresource-of-collection"),
        pytest.param(PERSISTENT_VOLUME_CLAIMS, ("..", "db"), id="dots-as-namespace"),
        pytest.param(PERSISTENT_VOLUMES, ("", ".."), id="dots-as-name"),
        pytest.param(PERSISTENT_VOLUMES, ("", "a/../b"), id="slash"),
        pytest.param(PERSISTENT_VOLUMES, ("", "a%2fb"), id="percent"),
        pytest.param(PERSISTENT_VOLUMES, ("", "a", "status/"), id="empty-subresource-segment"),
    ],
)
def test_parts_that_do_not_fit_are_refused(resource: Resource, parts: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"name|namespace|leave out"):
        resource.path(*parts)


@given(st.text(min_size=1))
def test_a_name_stays_one_segment(name: str) -> None:
    try:
        path = PERSISTENT_VOLUME_CLAIMS.path("shop", name)
    except (ValueError, UnicodeEncodeError):
        return
    assert path.count("/") == 6
    assert path.isascii()
    assert not set("?# ") & set(path)
    assert unquote(path.rsplit("/", 1)[1]) == name


def test_api_version_and_group_resource() -> None:
    assert PERSISTENT_VOLUMES.api_version == "v1"
    assert PERSISTENT_VOLUMES.group_resource == "persistentvolumes"
    assert VOLUME_SNAPSHOTS.api_version == "snapshot.storage.k8s.io/v1"
    assert VOLUME_SNAPSHOTS.group_resource == "volumesnapshots.snapshot.storage.k8s.io"


def test_every_constant_is_known_once() -> None:
    constants = [value for value in vars(resources).values() if isinstance(value, Resource)]
    assert sorted(KNOWN, key=str) == sorted(constants, key=str)
    assert len({(found.group, found.plural) for found in KNOWN}) == len(KNOWN)
