"""The signature algorithms of libp2p keys, a module each, behind one shape (`base.Algorithm`)."""
