"""The subresources that are no part of an object but something to be done with it."""

from __future__ import annotations

from moorage.kube.transport import Response
from moorage.testing.kube.call import Call
from moorage.testing.kube.reading import get
from moorage.testing.kube.refusal import method_not_allowed, status_response
from moorage.testing.kube.reviews import Reviewer
from moorage.testing.kube.store import Store
from moorage.testing.kube.tree import Tree, copied, decode, encode, lookup
from moorage.testing.kube.writing import Writer

__all__ = ["respond"]

_SUCCESS: Tree = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def respond(store: Store, writer: Writer, reviewer: Reviewer, call: Call) -> Response:
    """Carry out a POST on `token`, `binding` or `eviction`. Raises Refusal."""
    if call.verb != "create":
        raise method_not_allowed()
    target = get(store, call)
    tree = decode(call.body) if call.body else {}
    match call.subresource:
        case "token":
            request = reviewer.issue(tree, namespace=call.namespace, name=call.name, now=writer.now())
            return status_response(201, encode(request))
        case "binding":
            pod = copied(target.tree)
            pod["spec"]["nodeName"] = lookup(tree, "target.name")
            store.put(call.kind.resource, (call.namespace, call.name), pod)
        case _:
            writer.delete(call)
    return status_response(201, _SUCCESS)
