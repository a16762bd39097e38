"""A fake Kubernetes API server, for tests of whatever speaks to one.

    server = FakeApiServer()
    api = Api(FakeTransport(server))

It behaves as the real one does where a controller can notice: resourceVersions and conflicts, finalizers,
status subresources, patches, watches with bookmarks and 410, pages. Run it as
`python -m moorage.testing.kube --listen 127.0.0.1:8001` for other processes.
"""

from __future__ import annotations

from moorage.testing.kube.cluster import AttachDetach, Binder, GarbageCollector, NamespaceLifecycle, Protection
from moorage.testing.kube.faults import Delay, DropWatch, ExpireWatch, Fault, FaultPlan, LoseReply, LoseRequest, Refuse
from moorage.testing.kube.kinds import Kind, custom_kind
from moorage.testing.kube.reactions import Behaviour
from moorage.testing.kube.refusal import Refusal
from moorage.testing.kube.requestlog import RequestLog, RequestRecord
from moorage.testing.kube.reviews import TokenOwner
from moorage.testing.kube.roles import Rule, rules_of
from moorage.testing.kube.server import FakeApiServer
from moorage.testing.kube.transport import FakeTransport

__all__ = [
    "AttachDetach",
    "Behaviour",
    "Binder",
    "Delay",
    "DropWatch",
    "ExpireWatch",
    "FakeApiServer",
    "FakeTransport",
    "Fault",
    "FaultPlan",
    "GarbageCollector",
    "Kind",
    "LoseReply",
    "LoseRequest",
    "NamespaceLifecycle",
    "Protection",
    "Refusal",
    "Refuse",
    "RequestLog",
    "RequestRecord",
    "Rule",
    "TokenOwner",
    "custom_kind",
    "rules_of",
]
