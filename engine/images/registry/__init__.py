"""The registry client: OCI distribution over HTTP, from a reference's host to verified blobs."""
