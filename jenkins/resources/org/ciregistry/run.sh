#!/bin/sh
# Runs ci-registry on an agent, for the Jenkins library: makes sure that the right version is there, passes on the
# command line in $CI_REGISTRY_ARGUMENTS, and prints the result document. stderr is the log. The exit status is 0
# whenever there is a document; it says what happened.
#
# CI_REGISTRY_TOOL_VERSION  wanted version; "any" takes what is there  [the library's own]
# CI_REGISTRY_TOOL_INDEX    package index to install from              [pip's own]
# CI_REGISTRY_TOOL_WHEEL    wheel file to install instead
# CI_REGISTRY_TOOL_PYTHON   interpreter to install with                [python3]
# CI_REGISTRY_TOOL_CACHE    where installed versions are kept          [~/.cache/ci-registry/tool]
set -eu
umask 077

version=${CI_REGISTRY_TOOL_VERSION:-$CI_REGISTRY_LIBRARY_VERSION}
wheel=${CI_REGISTRY_TOOL_WHEEL:-}
lock='' folder='' result='' # what is removed at the end
trap 'rm -rf "$lock" "$folder" "$result"' EXIT
trap 'exit 143' HUP INT TERM

# fail EXIT CODE SENTENCE: the sentence must be free of what JSON escapes
fail() {
    printf 'ERROR %s\n' "$3" >&2
    printf '{"schema": "error/1", "result": null, "error": {"code": "%s", "exit": %s, "message": "%s"}}\n' \
        "$2" "$1" "$3"
    exit 0
}

# is_right PROGRAM: does it run, in the wanted version?
is_right() {
    found=$("$1" --version 2> /dev/null) || return 1
    [ "$version" = any ] || [ "$found" = "ci-registry $version" ]
}

# The installed version is a link to a folder that holds it. Folders are filled under names of their own and the link
# is made last, so nobody sees a half installed tool; the lock only spares the others the same work.
install_tool() {
    [ -z "$wheel" ] || [ -f "$wheel" ] || fail 2 usage "the wheel named by CI_REGISTRY_TOOL_WHEEL is not on this agent"
    cache=${CI_REGISTRY_TOOL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ci-registry/tool}
    mkdir -p "$cache" 2> /dev/null || fail 7 storage "the folder for installed tools can not be made on this agent"
    link=$cache/$version
    [ -z "$wheel" ] || link=$link-$(cksum < "$wheel" | tr -d ' ')
    tool=$link/bin/ci-registry
    ! is_right "$tool" || return 0
    take_lock
    if ! is_right "$tool"; then
        rm -f "$link" # one that does not work any more, as after an upgrade of Python
        fill_folder
    fi
    rm -rf "$lock"
}

take_lock() {
    waited=0
    while ! mkdir "$link.lock" 2> /dev/null; do
        owner=$(cat "$link.lock/owner" 2> /dev/null || :)
        if [ "$waited" -ge 600 ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2> /dev/null; }; then
            rm -rf "$link.lock" # its build was killed
            continue
        fi
        sleep 1
        waited=$((waited + 1))
    done
    lock=$link.lock
    echo $$ > "$lock/owner"
}

fill_folder() {
    folder=$(mktemp -d "$link.XXXXXX")
    echo "installing ci-registry $version into $folder" >&2
    [ -z "${CI_REGISTRY_TOOL_INDEX:-}" ] || export PIP_INDEX_URL="$CI_REGISTRY_TOOL_INDEX" # argv shows; it may hold a login
    wanted=${wheel:-ci-registry}
    [ -n "$wheel" ] || [ "$version" = any ] || wanted="ci-registry==$version"
    {
        "${CI_REGISTRY_TOOL_PYTHON:-python3}" -m venv "$folder" &&
            "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$wanted"
    } >&2 < /dev/null || fail 7 tool "installing ci-registry $version on this agent failed; the lines above say why"
    is_right "$folder/bin/ci-registry" || fail 2 tool "the installed ci-registry is not version $version"
    ! ln -sn "$folder" "$link" 2> /dev/null || folder=''
}

case $version in
    *[!0-9A-Za-z.+-]* | '') fail 2 usage "CI_REGISTRY_TOOL_VERSION is not a version" ;;
esac
tool=ci-registry
is_right "$tool" || install_tool

temporary=${WORKSPACE_TMP:-${TMPDIR:-/tmp}}
mkdir -p "$temporary"
result=$(mktemp "$temporary/ci-registry-result.XXXXXX")
status=0
CI_REGISTRY_RESULT_FILE=$result "$tool" --arguments-from CI_REGISTRY_ARGUMENTS >&2 < /dev/null || status=$?
[ -s "$result" ] || fail "$status" no-result "ci-registry ended with exit code $status and no result; the lines above say why"
cat "$result"
