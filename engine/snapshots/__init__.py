"""Snapshots: overlay layers, how they are applied and how they are mounted."""
