"""`make diff`: the same requests and commands against real dockerd and lightshipd, and what differs."""
