"""The frozen values of the protocol. No I/O, no clock, no randomness."""
