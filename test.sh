#!/usr/bin/env bash
# Builds Magpie and runs all of its tests. `./test.sh [PRESET] [ctest arguments]`; the preset is release, debug, asan or
# tsan, release by default. Installs and fetches what is missing; a second run does only what is left to do.
set -euo pipefail
cd "$(dirname "$0")"
preset=release
case ${1:-} in release | debug | asan | tsan) preset=$1; shift ;; esac

scripts/packages test
scripts/packages browser || echo "test.sh: without a browser the test of the page is skipped" >&2
MAGPIE_SPARK_DIR=$(scripts/packages spark && scripts/fetch-spark) ||
    echo "test.sh: without Spark and Java the test of ingest/spark is skipped" >&2
MAGPIE_MODEL_DIR=$(scripts/fetch-model)
MAGPIE_AUDIO_MODEL_DIR=$(scripts/fetch-audio-model)
export MAGPIE_SPARK_DIR MAGPIE_MODEL_DIR MAGPIE_AUDIO_MODEL_DIR
log=build/$preset.log
mkdir -p build
cmake --preset "$preset" >"$log" || { tail -n 20 "$log" >&2; exit 1; }
cmake --build --preset "$preset" >"$log" || { tail -n 60 "$log"; exit 1; }
ctest --preset "$preset" "$@"
