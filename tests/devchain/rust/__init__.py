"""Contracts that others wrote in Rust, on the dev chain."""
