#!/usr/bin/env python3
"""Sounds to train the starter audio encoder on: sounds.py CATALOGUE

Writes ~/.cache/magpie/starter/sounds/: samples.npy (int16, 16 kHz, one after the other), sounds.json (where
each begins and ends, what is said or heard in it, its kind) and texts.npy [distinct texts, 384] float16.

    spoken    titles of the catalogue, its keywords, names of emoji and icons, by espeak-ng in many voices
    human     Tux Paint's spoken descriptions, whatever their language, under the English title
    effect    Tux Paint's sounds of things

Nothing with a held-out title is in it, nor a keyword that is called like one."""

import json
import random
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np

import common
import espeak
import pictures

FOLDER = common.CACHE / "sounds"
TAKES = {"title": 6, "other": 3}
SECONDS = 6  # that are kept of a sound


def spoken(items):
    """What is said, and how often. Not what no reader of English would say: those are left to the text side."""
    takes = {}
    for item in items:
        takes[item["attributes"]["title"]] = TAKES["title"]
    names = [p["title"] for p in [*pictures.from_emoji(), *pictures.from_icons()]]
    for name in [*names, *(word for item in items for word in item["attributes"].get("keywords", []))]:
        takes.setdefault(name, TAKES["other"])
    for text, count in sorted(takes.items()):
        if common.held_out(text) or len(text) > 80 or not any(c.isalpha() for c in text):
            continue
        for take in range(count):
            yield {"kind": "spoken", "text": text, "take": take}


def recorded(items):
    for item in items:
        title = item["attributes"]["title"]
        if item["attributes"]["source"] != "tuxpaint":
            continue
        if item["attributes"].get("audio_kind") == "effect":
            yield {"kind": "effect", "text": title, "file": item["audio"]}
        if "image" in item:
            path = Path(item["image"])
            for file in sorted(path.parent.glob(f"{path.stem}_desc*.ogg")):
                yield {"kind": "human", "text": title, "file": str(file)}


speaker = None


def start_worker():
    global speaker
    speaker = espeak.Speaker()


def work(sound):
    import soundfile
    import soxr

    chance = random.Random(json.dumps(sound, sort_keys=True))
    try:
        if sound["kind"] == "spoken":
            samples = speaker.say(sound["text"], chance.choice(espeak.ACCENTS), chance.choice(espeak.VARIANTS),
                                  chance.randint(115, 215), chance.randint(30, 70), chance.randint(30, 70))
        else:
            samples, rate = soundfile.read(sound["file"], dtype="float32", always_2d=True)
            samples = soxr.resample(samples.mean(1), rate, espeak.RATE)
            samples = (samples / max(1e-4, np.abs(samples).max()) * 20000).astype(np.int16)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"{sound}: {error}", file=sys.stderr)
        return sound, np.zeros(0, np.int16)
    loud = np.flatnonzero(np.abs(samples) > 100)
    samples = samples[loud[0]:loud[-1] + 1] if len(loud) else samples[:0]
    return sound, samples[:SECONDS * espeak.RATE]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    items = [i for i in common.catalogue(sys.argv[1]) if not common.held_out(i["attributes"]["title"])]
    wanted = [*spoken(items), *recorded(items)]
    FOLDER.mkdir(parents=True, exist_ok=True)
    pieces, kept, end = [], [], 0
    with Pool(2, start_worker) as pool:
        for done, (sound, samples) in enumerate(pool.imap(work, wanted, 64), 1):
            if len(samples) > espeak.RATE // 10:
                kept.append({**sound, "begin": end, "end": end + len(samples)})
                end += len(samples)
                pieces.append(samples)
            if done % 5000 == 0:
                print(f"{done} of {len(wanted)}", file=sys.stderr, flush=True)
    np.save(FOLDER / "samples.npy", np.concatenate(pieces))
    texts = sorted({sound["text"] for sound in kept})
    np.save(FOLDER / "texts.npy", common.embed_texts(texts).astype(np.float16))
    (FOLDER / "sounds.json").write_text(json.dumps({"texts": texts, "sounds": kept}))


if __name__ == "__main__":
    main()
