"""The node agent: its reconcile loop, its listener and its import."""
