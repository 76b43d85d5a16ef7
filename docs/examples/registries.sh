#!/bin/sh
# Pushes one small image to each target that is named, and shows that it arrived whole.
#
#   sh docs/examples/registries.sh dockerhub ecr nexus
#
# Needs ci-registry on PATH, a ci-registry.yaml with these targets (docs/registries.md), and their logins.
set -eu
[ $# -gt 0 ] || { echo 'name the targets to push to, such as: dockerhub ecr nexus' >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v python3 || command -v python)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

step() { printf '\n%s\n' "$1"; }
run() { printf '$ %s\n' "$*"; "$@"; }

step 'An image for two platforms, in the image store of this user.'
"$python" "$here/demo/hello_image.py" "$work/hello" 1.0
run ci-registry push "oci:$work/hello:1.0" --repository demo/hello --target local

for target in "$@"; do
    step "Target $target: who are we there, and what would happen?"
    run ci-registry credentials explain "$target"
    run ci-registry push local:demo/hello:1.0 --target "$target" --dry-run

    step "Target $target: push. Where the image lands is the target's own rule."
    arrived=$(ci-registry push local:demo/hello:1.0 --target "$target")
    echo "$arrived"

    step "Target $target: read it back."
    run ci-registry inspect "docker://$arrived"
    run ci-registry verify "docker://$arrived" --deep
done
