"""The OCI runtime (runc's role): namespaces, mounts, cgroups, seccomp and capabilities."""
