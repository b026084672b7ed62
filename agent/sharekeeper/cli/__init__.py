"""The command line: parse, one use-case call, print."""
