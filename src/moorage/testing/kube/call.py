"""What a request asks for: path, method and query taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import unquote

from moorage.kube.resource import Resource
from moorage.testing.kube.kinds import Kind
from moorage.testing.kube.refusal import Refusal, bad_request, invalid_options, method_not_allowed, no_such_path

__all__ = ["Call", "Catalog", "parse_call"]

Catalog: TypeAlias = Mapping[tuple[str, str], Kind]
"""Kinds by group and plural."""

_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}
_MAX_MANAGER: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on a resource. `version` is the one of its group that was asked for."""

    verb: str
    kind: Kind
    version: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    user: str = ""
    agent: str = ""

    @property
    def resource(self) -> Resource:
        """The resource in the version that was asked for."""
        return self.kind.resource.at(self.version)

    @property
    def manager(self) -> str:
        """Who owns the fields that this request writes."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0][:_MAX_MANAGER] or "unknown"

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored. Raises Refusal."""
        value = self.query.get("dryRun", "")
        if value not in {"", "All"}:
            options = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
            text = f'Unsupported value: ["{value}"]: supported values: "All"'
            kind = options.get(self.verb, "DeleteOptions")
            raise invalid_options(kind, "dryRun", text, reason="FieldValueNotSupported")
        return value == "All"

    def flag(self, name: str) -> bool:
        """A truth value of the query."""
        return self.query.get(name, "") in {"true", "1", "True", "t", "T", "TRUE"}

    def number(self, name: str) -> int:
        """A number of the query, 0 when it is not there. Raises Refusal."""
        text = self.query.get(name, "")
        if text and not text.isdigit():
            raise bad_request(f'{name}: Invalid value: "{text}": strconv.ParseInt: parsing "{text}": invalid syntax')
        return int(text or 0)


def parse_call(
    catalog: Catalog,
    method: str,
    path: str,
    *,
    query: Mapping[str, str],
    body: bytes = b"",
    content_type: str = "",
    user: str = "",
    agent: str = "",
) -> Call:
    """The call that a request on a resource makes. Raises Refusal for a path or method that is not served."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise no_such_path()
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and (group, rest[2]) in catalog:
        namespace, rest = rest[1], rest[2:]
    kind = catalog.get((group, rest[0])) if rest else None
    if kind is None or version not in kind.served_versions or bool(namespace) > kind.resource.namespaced:
        raise no_such_path()
    name = rest[1] if len(rest) > 1 else ""
    subresource = "/".join(rest[2:])
    if subresource and subresource not in (("status",) if kind.status else ()) + kind.subresources:
        raise no_such_path()
    return Call(
        verb=_verb(kind, method, namespace=namespace, name=name, subresource=subresource, query=query),
        kind=kind,
        version=version,
        namespace=namespace,
        name=name,
        subresource=subresource,
        query=query,
        body=body,
        content_type=content_type.partition(";")[0].strip(),
        user=user,
        agent=agent,
    )


def _verb(kind: Kind, method: str, *, namespace: str, name: str, subresource: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method, "")
    if not name:
        if verb == "get":
            return "watch" if query.get("watch", "") in {"true", "1"} else "list"
        if verb == "delete":
            return "deletecollection"
        if verb == "create" and bool(namespace) == kind.resource.namespaced:
            return verb
        raise method_not_allowed()
    if kind.resource.namespaced and not namespace:
        raise no_such_path()
    if verb == "create" and (not subresource or subresource == "status"):
        if subresource:
            resource = kind.resource
            details = {**({"group": resource.group} if resource.group else {}), "kind": resource.plural}
            message = f'create is not supported on resources of kind "{resource.group_resource}"'
            raise Refusal(405, "MethodNotAllowed", message, details=details)
        raise method_not_allowed()
    if not verb or (subresource == "status" and verb == "delete"):
        raise method_not_allowed()
    return verb
