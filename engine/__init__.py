"""The engine: containers, images, snapshots, networks and volumes, without a word of HTTP."""
