"""Control groups: one driver for v1, one for v2, behind the same few methods."""
