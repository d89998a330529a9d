"""Apps for the official interop suites, peers of other implementations, and the runner."""
