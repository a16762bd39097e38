"""Container orchestrator for one machine: drives any CSI driver through its socket, with state on disk."""
