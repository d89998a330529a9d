"""What many nodes on one simulated internet cost: `python -m benchmarks.simulation`."""
