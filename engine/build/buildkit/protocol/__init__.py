"""BuildKit's messages: what lightship uses of them, by the field numbers of BuildKit's published protocol.

The .proto files are our own and name fields as this code base does; only numbers and types are on the wire. `make
protocol` makes the `_pb2` modules of them.
"""
