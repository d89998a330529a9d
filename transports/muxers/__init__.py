"""Stream multiplexers: many streams over one authenticated byte stream. No I/O."""
