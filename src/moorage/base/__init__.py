"""Foundations that know neither CSI nor Kubernetes: time, units, programs, logs, locks, threads."""
