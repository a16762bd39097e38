"""Kubernetes API client and controller runtime; knows no CSI."""
