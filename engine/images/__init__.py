"""Images: references, the content store, load, save, import and removal."""
