"""What becomes of a build's result: an image here, archives, files, an image at a registry."""
