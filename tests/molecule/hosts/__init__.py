"""Real Debian hosts on this computer: systemd as PID 1, a network of their own, reached over plain SSH.

A host is a systemd-nspawn container on a bridge, with a writable layer over one base image. Its "disk" survives
halt and power kill; `destroy` leaves nothing of it. `python -m tests.molecule.hosts --help` lists what can be done
to hosts, the faults included.
"""
