"""The file work of a build, done in worker processes: digests of what is copied, copying, unpacking, reading."""
