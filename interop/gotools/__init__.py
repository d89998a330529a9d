"""Programs in Go that tests and benchmarks run beside Carrick, and that are no peers of pairs."""
