"""A real browser as a peer: Chromium, with js-libp2p in a page."""
