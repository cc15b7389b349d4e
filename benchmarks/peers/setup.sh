#!/bin/sh
# Make the virtual environments of the peers, each with its own pinned requirements: benchmarks/peers/NAME.txt ->
# .venvs/NAME beside the checkout's .venv. Nothing is installed where dipolar lives.
#   sh benchmarks/peers/setup.sh [NAME ...]        all of them unless named
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$peers/../.." && pwd)
[ $# -gt 0 ] || set -- $(cd "$peers" && ls *.txt | sed 's/\.txt$//')
for name in "$@"; do
    [ -f "$peers/$name.txt" ] || { echo "no such peer: $name (there is no $peers/$name.txt)" >&2; exit 1; }
    venv="$root/.venvs/$name"
    [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet -r "$peers/$name.txt"
    echo "$name: $venv"
done
