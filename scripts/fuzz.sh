#!/usr/bin/env bash
# Runs fuzz targets (all of them without arguments) for FUZZ_SECONDS each, on stable Rust and without a sanitizer: there is no
# unsafe code to watch. What is found is written to fuzz/artifacts/TARGET; to keep it found, give it a name in fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SECONDS_EACH="${FUZZ_SECONDS:-60}"
export PATH="$PWD/.tools/cargo-fuzz/bin:$PATH"

mapfile -t known < <(cargo fuzz list)
targets=("${@:-${known[@]}}")

echo "==> build"
for target in "${targets[@]}"; do
    cargo fuzz build --sanitizer none "$target"
done
for target in "${targets[@]}"; do
    echo "==> $target: $SECONDS_EACH s"
    # New inputs go to the first folder, so that the committed corpus stays small.
    mkdir -p "fuzz/target/corpus/$target"
    cargo fuzz run --sanitizer none "$target" "fuzz/target/corpus/$target" "fuzz/corpus/$target" -- \
        -max_total_time="$SECONDS_EACH" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
done
echo "<== ${#targets[@]} targets, nothing found"
