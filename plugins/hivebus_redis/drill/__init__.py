"""Faults on purpose, on a private server: proves what is promised about messages, or shows what is not kept."""
