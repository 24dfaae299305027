#!/usr/bin/env bash
# Counts what is on the shelves.
set -euo pipefail

connection="sqlite3 shelves.db"
region=${1:-north}
once=1

count() {
    local reason=none
    while IFS='|' read -r name amount; do
        [[ $amount -lt 10 ]] && reason="few"
        printf '%s: %s (%s)\n' "$name" "$amount" "$reason"
    done < <($connection "SELECT name, amount FROM shelf WHERE region = '$region'")
}

((once)) && count 2>/dev/null || echo "nothing <here>" >&2
