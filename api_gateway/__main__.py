"""``python -m api_gateway`` is the ``api-gateway`` command."""

from api_gateway.cli import main

if __name__ == "__main__":
    main(prog_name="api-gateway")
