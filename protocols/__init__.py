"""What two peers say over streams: one room for each protocol."""
