"""The resolver: one process that answers the DNS queries of containers on networks that users made."""
