#!/bin/sh
# Runs the tests with real servers; tests/servers.py knows where to find them.
#
# What is missing is installed from Debian's packages when this runs as root. The tests start
# private servers on free ports, so the packages' own services are neither started nor enabled.
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
POLICY=/usr/sbin/policy-rc.d

restore_policy() {
    rm -f "$POLICY"
    [ ! -e "$POLICY.before-tests" ] || mv "$POLICY.before-tests" "$POLICY"
}

# invoke-rc.d asks policy-rc.d, which says no (101) to every start.
forbid_services() {
    [ ! -e "$POLICY" ] || mv "$POLICY" "$POLICY.before-tests"
    trap restore_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

allow_services() {
    trap - EXIT INT TERM
    restore_policy
}

install() {
    echo "test: installing $*" >&2
    export DEBIAN_FRONTEND=noninteractive
    forbid_services
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
    allow_services
    if command -v systemctl >/dev/null 2>&1; then
        systemctl disable --quiet "$@" 2>/dev/null || true
    fi
}

can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

environment_names_servers() {
    [ -n "${GATEWAY_TEST_AMQP_URL:-${GATEWAY_AMQP_URL:-}}" ] &&
        [ -n "${GATEWAY_TEST_REDIS_URL:-${GATEWAY_REDIS_URL:-}}" ]
}

missing=$("$PYTHON" -m tests.servers)
if [ -n "$missing" ]; then
    if can_install; then
        # shellcheck disable=SC2086 # a list of names
        install $missing
    elif environment_names_servers; then
        echo "test: tests that kill their own server will fail: no $missing, no Docker engine" >&2
    else
        echo "test: the tests need real servers. Missing: $missing" >&2
        echo "test: install them (Debian: sudo apt-get install $missing), start a Docker engine," >&2
        echo "test: or set GATEWAY_AMQP_URL and GATEWAY_REDIS_URL" >&2
        exit 1
    fi
fi

# Two processes, as most of the time is waiting; each starts servers of its own.
exec "$PYTHON" -m pytest -n 2 --dist loadfile "$@"
