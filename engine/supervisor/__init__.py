"""The zygote that forks shims, and the daemon's handle on all tasks."""
