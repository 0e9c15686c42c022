"""Envoy as a peer: one worker thread, one route, one cluster."""

from pathlib import Path

from bench.install import envoy
from bench.processes import Process, Processes
from tests.processes import free_port

_EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
_CONFIG = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {extensions}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          generate_request_id: false
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: back}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": {extensions}.http.router.v3.Router
  clusters:
  - name: back
    type: STATIC
    load_assignment:
      cluster_name: back
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {{socket_address: {{address: {host}, port_value: {upstream_port}}}}}
"""


def start_envoy(processes: Processes, folder: Path, upstream: str) -> tuple[str, Process]:
    """Start Envoy before an upstream; its URL and its process. Raises NotInstallableError."""
    program = envoy()
    host, _, upstream_port = upstream.removeprefix("http://").partition(":")
    port = free_port()
    config = folder / "envoy.yaml"
    config.write_text(
        _CONFIG.format(extensions=_EXTENSIONS, port=port, host=host, upstream_port=upstream_port)
    )
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    process = processes.start("envoy", [program, "--config-path", config, *options])
    return f"http://127.0.0.1:{port}", process
