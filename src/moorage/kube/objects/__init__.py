"""Kinds of Kubernetes objects as read-only structs, with the fields that controllers read; they hold no behaviour."""
