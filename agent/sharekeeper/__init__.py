"""Sharekeeper: backup and disaster recovery for NEAR MPC nodes that run in TEEs.

Where to start: `domain` (the values), `protocol` (every decision, without I/O), `ports` (what the
outside must offer), `backup_service` and `node_agent` (the two daemons), `app` (who is wired to whom).
"""
