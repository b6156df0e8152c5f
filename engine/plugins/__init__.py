"""Managed plugins: volume drivers and others that come as an image of their own and run beside the containers."""
