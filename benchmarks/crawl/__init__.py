"""How fast a DHT of real nodes on loopback is crawled, and whether all of it is found."""
