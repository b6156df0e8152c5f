"""HTTP: the Docker Engine API as a Starlette app, its routes, streams and hijacked connections."""
