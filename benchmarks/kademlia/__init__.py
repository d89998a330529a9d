"""Large DHTs in one process and in virtual time: whether they find everything, and what it costs.

Routing tables, lookups, stores and requests are the production code, and every message is encoded
and decoded. Only what carries them is a model: `benchmarks.kademlia.model`.
"""
