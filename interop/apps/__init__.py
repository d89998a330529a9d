"""Carrick's apps for libp2p/unified-testing and libp2p/test-plans; see ../README.md."""
