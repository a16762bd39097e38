"""The drivers that come with Moorage: one package each, none of which knows another.

A driver imports `moorage.framework`, `moorage.host` and what lies below them; it is found by its entry
point in the group `moorage.drivers`.
"""
