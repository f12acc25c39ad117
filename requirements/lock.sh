#!/bin/sh
# Write requirements/dev.lock and requirements/run.lock from pyproject.toml: every package that is
# installed, in one exact version, with the hashes of its files. The locks hold for every version of
# Python that pyproject.toml admits.
#
#   requirements/lock.sh            keeps what the locks say wherever it still fits
#   requirements/lock.sh --upgrade  takes the newest that fits
#
# The tool that resolves is not part of our environment, so it lives in one that is thrown away.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "piesd: resolving pyproject.toml"
.venv/bin/python -m venv "$scratch/env"
"$scratch/env/bin/python" -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'

resolve() {
    "$scratch/env/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command 'make lock' "$@" >/dev/null
}

# First everything, then the part that runs, held to the same versions: what is tested is what runs.
resolve "$@" --group dev --output-file requirements/dev.lock pyproject.toml
resolve --constraints requirements/dev.lock --output-file requirements/run.lock pyproject.toml
