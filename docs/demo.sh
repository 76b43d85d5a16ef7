#!/bin/sh
# The main job in one go, on any machine: no Docker, no network, no registry. `make demo` runs it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v python3 || command -v python)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

step() { printf '\n\033[1m%s\033[0m\n' "$1"; }
run() { printf '$ %s\n' "$*"; "$@"; }

step 'An image to work with: one static program, for linux/amd64 and linux/arm64, as an OCI layout.'
"$python" "$here/demo/hello_image.py" "$work/hello" 1.0

step 'A second target beside the built-in `local`: a folder for backups.'
cat > ci-registry.yaml <<'YAML'
targets:
  backup: {kind: oci-layout, path: backup}
YAML
run ci-registry targets

step 'Push: to the built-in target `local`, an image store in your data folder.'
run ci-registry push oci:hello:1.0 --repository demo/hello --target local

step 'Copy: from one target to another; the whole index, bit for bit.'
run ci-registry copy local:demo/hello:1.0 backup:demo/hello:1.0

step 'Look: what is it, and what is there?'
run ci-registry inspect backup:demo/hello:1.0
run ci-registry list backup
run ci-registry list backup:demo/hello

step 'Verify: every byte of both copies is read and checked against its digest.'
run ci-registry verify local:demo/hello:1.0 --deep
run ci-registry verify backup:demo/hello:1.0 --deep

digest() { ci-registry --output json inspect "$1" | "$python" -c 'import json, sys; print(json.load(sys.stdin)["result"]["digest"])'; }
first=$(digest local:demo/hello:1.0)
second=$(digest backup:demo/hello:1.0)
[ "$first" = "$second" ]

step 'What happened'
cat <<TEXT
An image for two platforms was pushed to the target \`local\`, copied to the target \`backup\`, and found whole in both.
Nothing was unpacked, nothing was compressed again: the digest is the same in both places.

What to try next
  ci-registry init                                    write a configuration and name your own registry in it
  ci-registry push local:demo/hello:1.0 --target T    push this image there; add --dry-run to see what would happen
  ci-registry push app:1.2 --target T                 push an image from the local Docker daemon

local:demo/hello:1.0   $first
backup:demo/hello:1.0  $second
TEXT
