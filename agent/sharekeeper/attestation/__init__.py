"""Verification of evidence: pure functions, no input or output, no clock (docs/attestation.md)."""
