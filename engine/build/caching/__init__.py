"""The build cache beyond this engine: in images (inline) and at registries."""
