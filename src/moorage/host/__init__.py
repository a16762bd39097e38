"""Linux storage operations as idempotent verbs: mounts, loop devices, file systems, reflinks, freezing,
quotas.

Drivers call these functions from worker threads, so most of them block. Names say what to expect: `ensure_*`
may be repeated and returns whether it changed something, `find_*` returns None when there is nothing,
`parse_*` raises. This package knows neither the Container Storage Interface nor gRPC.
"""
