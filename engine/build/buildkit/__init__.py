"""BuildKit's side of the build: gRPC with buildx and compose, in both directions.

A client opens a connection on which it calls the daemon (`control`, `gateway`), and another, its session, on which the
daemon calls the client (`session`: files, credentials, secrets). Everything that imports grpclib or protobuf is in this
package, and `api.routes.buildkit` imports it at the first request: a daemon that never builds does without.
"""
