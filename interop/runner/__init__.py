"""The native runner: the official suites' pairs without containers. ``python -m interop run``."""
