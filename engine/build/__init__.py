"""Build: a Dockerfile frontend makes a graph of steps, the solver runs it, exporters make images and files of it.

Two doors lead in: the classic `POST /build`, and BuildKit's services over `POST /session` and `POST /grpc`.
"""
