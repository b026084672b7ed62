"""The dev chain and the reference network: for development, tests and rehearsal, never for production machines."""
