"""What the server says of itself: the groups and resources it serves, its version and its health."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from moorage.kube.transport import Response
from moorage.testing.kube.kinds import Kind
from moorage.testing.kube.refusal import status_response
from moorage.testing.kube.tree import Tree

__all__ = ["discovery"]

_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SHORT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "configmaps": ("cm",), "customresourcedefinitions": ("crd", "crds"), "daemonsets": ("ds",),
    "deployments": ("deploy",), "events": ("ev",), "namespaces": ("ns",), "nodes": ("no",),
    "persistentvolumeclaims": ("pvc",), "persistentvolumes": ("pv",), "pods": ("po",), "replicasets": ("rs",),
    "resourcequotas": ("quota",), "serviceaccounts": ("sa",), "services": ("svc",), "statefulsets": ("sts",),
    "storageclasses": ("sc",), "volumeattributesclasses": ("vac",), "volumesnapshots": ("vs",),
    "volumesnapshotclasses": ("vsclass", "vsclasses"), "volumesnapshotcontents": ("vsc", "vscs"),
    "volumegroupsnapshots": ("vgs",), "volumegroupsnapshotclasses": ("vgsclass", "vgsclasses"),
    "volumegroupsnapshotcontents": ("vgsc", "vgscs"),
}  # fmt: skip
_HEALTH: Final = frozenset({"/healthz", "/livez", "/readyz"})


def discovery(path: str, kinds: Iterable[Kind], *, minor: int) -> Response | None:
    """The answer to a GET that asks about the server, None when `path` is about something else."""
    path = path.rstrip("/")
    parts = path.strip("/").split("/")
    match parts:
        case ["api"]:
            return status_response(200, {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
        case ["version"]:
            return status_response(200, _version(minor))
        case ["apis"]:
            groups = [_group(name, kinds) for name in sorted({kind.resource.group for kind in kinds} - {""})]
            return status_response(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        case ["apis", group] if any(kind.resource.group == group for kind in kinds):
            return status_response(200, {"kind": "APIGroup", "apiVersion": "v1", **_group(group, kinds)})
        case ["apis", group, version]:
            return _resources(group, version, kinds)
        case ["api", version]:
            return _resources("", version, kinds)
    if path in _HEALTH:
        return Response(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
    return None


def page_not_found() -> Response:
    """The answer for a path of a group that is not served."""
    return Response(404, {"content-type": "text/plain; charset=utf-8"}, b"404 page not found\n")


def _group(name: str, kinds: Iterable[Kind]) -> Tree:
    versions = list(
        dict.fromkeys(version for kind in kinds if kind.resource.group == name for version in kind.served_versions)
    )
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resources(group: str, version: str, kinds: Iterable[Kind]) -> Response | None:
    served = [kind for kind in kinds if kind.resource.group == group and version in kind.served_versions]
    if not served:
        return None
    entries = [entry for kind in served for entry in _entries(kind)]
    name = f"{group}/{version}" if group else version
    return status_response(
        200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}
    )


def _entries(kind: Kind) -> Iterable[Tree]:
    resource = kind.resource
    verbs = list(_VERBS if kind.stored else ("create",))
    about = {"singularName": resource.kind.lower(), "namespaced": resource.namespaced, "kind": resource.kind}
    short = {"shortNames": list(_SHORT_NAMES[resource.plural])} if resource.plural in _SHORT_NAMES else {}
    yield {"name": resource.plural, **about, "verbs": verbs, **short}
    if kind.status:
        verbs = ["get", "patch", "update"]
        yield {"name": f"{resource.plural}/status", **about, "singularName": "", "verbs": verbs}
    for subresource in kind.subresources:
        yield {"name": f"{resource.plural}/{subresource}", **about, "singularName": "", "verbs": ["create"]}


def _version(minor: int) -> Tree:
    return {"major": "1", "minor": str(minor), "gitVersion": f"v1.{minor}.0", "platform": "linux/amd64"}
