"""What tests and bench stand on: a machine of their own (namespaces), images made on the spot, an engine, its clients.

An engine is started in a network namespace and a private mount namespace, with its own data root, exec root and socket,
so nothing of it is seen by, or can be left on, the host. The same code starts real dockerd: the specification that the
client tests are proven against, and the other column of the bench.
"""
