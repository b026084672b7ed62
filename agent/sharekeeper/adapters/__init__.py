"""The outside world behind the ports: RPC, TLS, disk."""
