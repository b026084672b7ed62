"""Certificates, pinning and sealing as pure functions over bytes."""
