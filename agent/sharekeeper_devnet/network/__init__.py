"""The reference network: small MPC nodes with real threshold keys, for rehearsal only."""
