"""Immutable dataset snapshots and their formats."""
