#!/usr/bin/env bash
# From nothing to search results: installs what is missing, builds, fetches the text model, makes a catalogue out of
# Debian's clip art and stamps, ingests its texts, pictures and sounds, and asks for things by words, by a picture and
# by voice; each answer is also a page of pictures. Then it serves all that: `./demo.sh --no-serve` ends before. A second
# run does only what is left to do.
set -euo pipefail
cd "$(dirname "$0")"
case ${1:-} in '' | --no-serve) ;; *) echo "demo.sh: --no-serve, or nothing" >&2; exit 2 ;; esac

scripts/packages demo
models=$(scripts/fetch-starter)
mkdir -p build
log=build/demo.log
echo "Building ..." >&2
cmake --preset release -DMAGPIE_TESTS=OFF -B build/demo >"$log" || { tail -n 20 "$log" >&2; exit 1; }
cmake --build build/demo >"$log" || { tail -n 40 "$log"; exit 1; }
magpie=build/demo/service/magpie

datasets/make-catalogue catalogue.jsonl
"$magpie" ingest catalogue.jsonl --store demo-store --model "$models"

mkdir -p demo-pages
ask() {
    page=demo-pages/$1.html
    shift
    printf '\n$ magpie search'
    printf ' %q' "$@"
    printf ' -k 8 --page %s\n' "$page"
    "$magpie" search --store demo-store --model "$models" -k 8 "$@" --page "$page"
}
ask text --text 'something to keep the rain off'
ask picture --image /usr/share/tuxpaint/stamps/vehicles/garbagetruck.png
espeak-ng -v en-us+f4 -w demo-pages/spoken.wav penguin
ask voice --audio demo-pages/spoken.wav
ask mixed --text 'musical instrument' --not-text 'guitar' --explain
echo
echo "The pages: demo-pages/*.html"
[ "${1:-}" != --no-serve ] || exit 0
echo
echo "Now open http://localhost:8700/ (Ctrl-C ends it)"
exec "$magpie" serve --store demo-store --model "$models" --media-root /usr/share --access-log none
