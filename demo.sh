#!/usr/bin/env bash
# From nothing to search results: installs what is missing, builds, fetches the text model, makes a catalogue out of
# Debian's clip art and stamps, ingests it, and asks three questions. A second run does only what is left to do.
set -euo pipefail
cd "$(dirname "$0")"

scripts/packages
model=$(scripts/fetch-model)
mkdir -p build
log=build/demo.log
echo "Building ..." >&2
cmake --preset release -DMAGPIE_TESTS=OFF -B build/demo >"$log" || { tail -n 20 "$log" >&2; exit 1; }
cmake --build build/demo >"$log" || { tail -n 40 "$log"; exit 1; }
magpie=build/demo/service/magpie

datasets/make-catalogue catalogue.jsonl
"$magpie" ingest catalogue.jsonl --store demo-store --model "$model"

ask() {
    printf '\n$ magpie search'
    printf ' %q' "$@"
    printf ' -k 5\n'
    "$magpie" search --store demo-store --model "$model" -k 5 "$@"
}
ask --text 'a bird that steals shiny things'
ask --text 'something to keep the rain off'
ask --text 'musical instrument' --filter '{"must": [{"key": "has_sound", "match": {"value": true}}]}'
