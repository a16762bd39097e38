"""Secret, ConfigMap, Namespace, ServiceAccount, Lease and Event. Source: the Kubernetes API reference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from moorage.kube.objects.meta import EMPTY, ApiStruct, ObjectMeta, ObjectReference

__all__ = [
    "ConfigMap",
    "Event",
    "EventSeries",
    "EventSource",
    "Lease",
    "LeaseSpec",
    "Namespace",
    "NamespaceStatus",
    "Secret",
    "ServiceAccount",
]


class Secret(ApiStruct, frozen=True):
    """Confidential values, each encoded as base64. Its text form shows the keys only."""

    metadata: ObjectMeta = ObjectMeta()
    type: str = ""
    data: Mapping[str, str] = EMPTY

    def __repr__(self) -> str:
        keys = ", ".join(sorted(self.data))
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys: {keys})"


class ConfigMap(ApiStruct, frozen=True):
    """Values that are not confidential; `binary_data` is encoded as base64."""

    metadata: ObjectMeta = ObjectMeta()
    data: Mapping[str, str] = EMPTY
    binary_data: Mapping[str, str] = EMPTY


class NamespaceStatus(ApiStruct, frozen=True):
    """`phase` is Active or Terminating."""

    phase: str = ""


class Namespace(ApiStruct, frozen=True):
    """A part of the cluster with its own names."""

    metadata: ObjectMeta = ObjectMeta()
    status: NamespaceStatus = NamespaceStatus()


class ServiceAccount(ApiStruct, frozen=True):
    """Whom a pod is for the API server."""

    metadata: ObjectMeta = ObjectMeta()


class LeaseSpec(ApiStruct, frozen=True):
    """Who holds the lease since when; for decisions on it see `moorage.kube.leader`."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: datetime | None = None
    renew_time: datetime | None = None
    lease_transitions: int | None = None


class Lease(ApiStruct, frozen=True):
    """A lock with an end. Source: coordination.k8s.io/v1."""

    metadata: ObjectMeta = ObjectMeta()
    spec: LeaseSpec = LeaseSpec()


class EventSource(ApiStruct, frozen=True):
    """Which component reported an event, and on which node."""

    component: str = ""
    host: str = ""


class EventSeries(ApiStruct, frozen=True):
    """How often an event of the newer form has occurred."""

    count: int = 0
    last_observed_time: datetime | None = None


class Event(ApiStruct, frozen=True):
    """Something that happened to an object; `type` is Normal or Warning."""

    metadata: ObjectMeta = ObjectMeta()
    involved_object: ObjectReference = ObjectReference()
    type: str = ""
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""
    count: int = 0
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: EventSeries | None = None
