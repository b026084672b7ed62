"""The decisions and sessions of the spec as pure code: no I/O, no clock, no randomness."""
