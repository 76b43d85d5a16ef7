#!/bin/sh
# Sees to it that the Debian packages the tests need are there: as root it installs the missing ones, starting no
# service; as anybody else it names them and fails. Usage: install-packages.sh LIST
set -eu

list=$1
policy=${POLICY_FILE:-/usr/sbin/policy-rc.d}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
while read -r package; do
    installed "$package" || missing="$missing $package"
done < "$list"
# Any Java will do for groovy, and python3-venv is only needed where the interpreter is Debian's and has no ensurepip.
command -v java >/dev/null 2>&1 || missing="$missing default-jre-headless"
"${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "These Debian packages are missing; run 'make test-deps' as root, or ask for them:$missing" >&2
    exit 1
fi

# invoke-rc.d asks this file before it starts anything; 101 means no.
restore() {
    if [ -e "$policy.before-tests" ]; then
        mv -f "$policy.before-tests" "$policy"
    else
        rm -f "$policy"
    fi
}
if [ -e "$policy" ] && [ ! -e "$policy.before-tests" ]; then
    mv -f "$policy" "$policy.before-tests"
fi
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '#!/bin/sh\nexit 101\n' > "$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of names
install() {
    apt-get install -y -q --no-install-recommends $missing </dev/null
}
# The package lists are fetched only where they are absent or too old for what is wanted.
install || { apt-get update -q </dev/null && install; }
