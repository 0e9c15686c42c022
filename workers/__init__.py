"""What must not stand in a request's way: audit, health probes, alerts, callbacks."""
