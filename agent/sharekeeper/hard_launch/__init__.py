"""The hard launch: both daemons inside a TEE, built into an image of its own (docs/hard-launch.md).

Nothing here may import the soft launch: its configuration, its approvals and overrides, its command line.
"""
