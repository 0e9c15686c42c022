"""How many requests a caller may make: the algorithm, its two stores, and RateLimiter."""
