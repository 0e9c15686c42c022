"""nginx in its two parts: the upstream of every peer, and a peer itself. One worker each."""

import getpass
from pathlib import Path

from bench.processes import Process, Processes
from tests.processes import free_port

# 137 bytes, a small answer as an API gives it.
BODY = (
    b'{"id":"18f3a5e","name":"Ada Lovelace","email":"ada.lovelace@example.com","roles":["user"],'
    b'"created":"1843-01-01T00:00:00Z","active":true}'
)

_FRAME = """\
user {user};
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{http}
}}
"""

_UPSTREAM = """\
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type application/json; return 200 '{body}'; }}
    }}
"""

_PROXY = """\
    upstream back {{ server {address}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


def start_upstream(processes: Processes, folder: Path) -> tuple[str, Process]:
    """An nginx that answers every request with ``BODY``; its URL and its process."""
    port = free_port()
    http = _UPSTREAM.format(port=port, body=BODY.decode())
    return f"http://127.0.0.1:{port}", _start(processes, folder / "nginx-upstream", http)


def start_proxy(processes: Processes, folder: Path, upstream: str) -> tuple[str, Process]:
    """An nginx that passes every request on; its URL and its process."""
    port = free_port()
    http = _PROXY.format(port=port, address=upstream.removeprefix("http://"))
    return f"http://127.0.0.1:{port}", _start(processes, folder / "nginx-proxy", http)


def _start(processes: Processes, folder: Path, http: str) -> Process:
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "nginx.conf"
    conf.write_text(_FRAME.format(user=getpass.getuser(), folder=folder, http=http))
    return processes.start(folder.name, ["nginx", "-e", "stderr", "-p", folder, "-c", conf])
