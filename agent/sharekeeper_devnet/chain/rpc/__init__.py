"""JSON-RPC and REST as neard serves them."""
