"""The backup service: its reconcile loop and its two exchanges."""
