"""The TEE host stand-in: a mock of the hardware, of Intel and of dstack, for computers without TDX.

What it makes has the form of the real thing, down to the last signature, and verifies only under a root
certificate of its own. It proves nothing about a machine and belongs to rehearsals and tests alone.
"""
