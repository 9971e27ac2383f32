"""Compiler stacks, each behind one protocol and each in a process of its own."""
