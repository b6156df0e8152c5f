"""The process beside each container (containerd-shim's role), and the daemon's client of it."""
