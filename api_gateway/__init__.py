"""The face of the gateway: the library, the command, and the one place that wires the roles."""

from api_gateway.gateway import APIGateway
from ingress.limits.limiter import RateLimiter

__all__ = ["APIGateway", "RateLimiter"]
