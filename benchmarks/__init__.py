"""Carrick, other implementations and the machine's limits, measured beside each other."""
