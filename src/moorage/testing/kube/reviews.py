"""Requests that are answered and not stored: reviews of tokens and of access, and tokens of service accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from moorage.testing.kube.tree import Tree, lookup

__all__ = ["Reviewer", "TokenOwner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOwner:
    """Whose token it is; without `audiences` it is for the API server only."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ("https://kubernetes.default.svc",)


def _everything(spec: Mapping[str, Any]) -> bool:
    return True


@dataclass(slots=True)
class Reviewer:
    """Answers reviews: `tokens` are those that it knows, `allowed` says what a SubjectAccessReview may do."""

    tokens: dict[str, TokenOwner] = field(default_factory=dict)
    allowed: Callable[[Mapping[str, Any]], bool] = _everything
    issued: int = 0

    def review(self, tree: Tree) -> Tree:
        """The review with its verdict."""
        spec = tree.get("spec") or {}
        if tree.get("kind") == "TokenReview":
            return {**tree, "status": self._token_status(spec)}
        return {**tree, "status": {"allowed": self.allowed(spec)}}

    def issue(self, tree: Tree, *, namespace: str, name: str, now: datetime) -> Tree:
        """The TokenRequest for a service account, with a token that `review` knows from then on."""
        self.issued += 1
        lifetime_s = int(lookup(tree, "spec.expirationSeconds") or 3600)
        audiences = tuple(lookup(tree, "spec.audiences") or ()) or TokenOwner(username="").audiences
        token = f"token-{self.issued}-of-{namespace}-{name}"
        self.tokens[token] = TokenOwner(username=f"system:serviceaccount:{namespace}:{name}", audiences=audiences)
        expires = (now + timedelta(seconds=lifetime_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {**tree, "status": {"token": token, "expirationTimestamp": expires}}

    def _token_status(self, spec: Mapping[str, Any]) -> Tree:
        owner = self.tokens.get(str(spec.get("token", "")))
        wanted = tuple(spec.get("audiences") or ()) or TokenOwner(username="").audiences
        audiences = [name for name in wanted if owner and name in owner.audiences]
        if owner is None or not audiences:
            return {"user": {}, "error": "invalid bearer token"}
        user = {"username": owner.username, "uid": owner.uid, "groups": list(owner.groups)}
        return {"authenticated": True, "user": user, "audiences": audiences}
