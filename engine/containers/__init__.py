"""Containers: configuration, OCI specs, life cycle, exec and logs."""
