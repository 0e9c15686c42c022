"""Which instance takes a call: strategies, health, slow start, zones; balancer.py joins them."""
