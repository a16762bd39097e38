"""Moorage: the Container Storage Interface, whole, in Python."""
