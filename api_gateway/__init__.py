"""The face of the gateway: the library, the command, and the one place that wires the roles."""

from api_gateway.gateway import APIGateway
from dispatcher.policies.circuit_breaker import CircuitBreaker
from dispatcher.policies.load_balancing.load_balancer import LoadBalancer
from ingress.limits.limiter import RateLimiter

__all__ = ["APIGateway", "CircuitBreaker", "LoadBalancer", "RateLimiter"]
