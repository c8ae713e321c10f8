#!/usr/bin/env python3
"""Catalogues and queries for the heads and for the figures: lines.py CATALOGUE

Writes to ~/.cache/magpie/starter/lines/:

    train.jsonl           training titles of all sources, each picture with its whole text, its title and a mixture, a
                          sound with each: what `magpie train fusion` learns from
    held.jsonl            the catalogue's items of held-out titles
    half.jsonl            the same with half of their keywords taken out of text and attributes
    hidden.jsonl          queries: the keywords that were taken out
    full.jsonl, title.jsonl    queries: the whole text, the title alone
    seen.jsonl            the catalogue's items of 1,500 training titles, as candidates
    spoken-seen.jsonl     queries: those titles said by voices that nothing was trained on
    spoken-held.jsonl     queries: held-out titles said by such voices
"""

import json
import random
import sys

import soundfile

import common
import espeak
import pictures
import sounds

FOLDER = common.CACHE / "lines"
VARIANTS = 3
SEEN = 1500


class Voices:
    def __init__(self, variants):
        self.speaker, self.variants = espeak.Speaker(), variants

    def say(self, text, name):
        """-> the file, or None for what cannot be said"""
        chance = random.Random(name)
        if len(text) > 80 or not any(c.isalpha() for c in text):
            return None
        samples = self.speaker.say(text, chance.choice(espeak.ACCENTS), chance.choice(self.variants),
                                   chance.randint(120, 210), chance.randint(30, 70), chance.randint(30, 70))
        if len(samples) < espeak.RATE // 10:
            return None
        path = FOLDER / "sounds" / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, espeak.RATE)
        return str(path)


def write(name, lines):
    with open(FOLDER / name, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(f"{name}: {len(lines)} lines", file=sys.stderr)


def training_lines(items):
    recorded = {}
    for sound in sounds.recorded(items):
        recorded.setdefault(sound["text"], []).append(sound["file"])
    voices = Voices(espeak.VARIANTS)
    named = []
    for item in items:
        attributes = item["attributes"]
        named.append({"file": item.get("image"), "title": attributes["title"], "text": item["text"],
                      "keywords": attributes.get("keywords", [])})
    named += [*pictures.from_emoji(), *pictures.from_icons()]
    for i, picture in enumerate(named):
        chance = random.Random(i)
        if "emoji" in picture:
            path = FOLDER / "pictures" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pictures.load(picture).save(path)
            except ValueError:  # the font has no such sign
                continue
            picture["file"] = str(path)
        for variant, text in enumerate(pictures.texts_of(picture, chance)[:VARIANTS]):
            line = {"id": f"{i}.{variant}", "text": text, "image": picture["file"],
                    "attributes": {"title": picture["title"]}}
            if variant == 2 and picture["title"] in recorded:
                line["audio"] = chance.choice(recorded[picture["title"]])
            else:
                line["audio"] = voices.say(picture["title"], f"train/{i}.{variant}")
            yield {key: value for key, value in line.items() if value}


def halves(items):
    """Half of the keywords, by chance; what was taken out is the query."""
    kept, queries = [], []
    for item in items:
        words = item["attributes"].get("keywords", [])
        hidden = random.Random(item["id"]).sample(words, len(words) // 2)
        seen = [word for word in words if word not in hidden]
        title = item["attributes"]["title"]
        text = f"{title}. {', '.join(seen)}." if seen else f"{title}."
        kept.append({**item, "text": text, "attributes": {**item["attributes"], "keywords": seen}})
        if hidden:
            queries.append({"id": item["id"], "text": ", ".join(hidden)})
    return kept, queries


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    FOLDER.mkdir(parents=True, exist_ok=True)
    items = common.catalogue(sys.argv[1])
    held = [item for item in items if common.held_out(item["attributes"]["title"])]
    trained = [item for item in items if not common.held_out(item["attributes"]["title"])]
    write("train.jsonl", list(training_lines(trained)))
    write("held.jsonl", held)
    half, hidden = halves(held)
    write("half.jsonl", half)
    write("hidden.jsonl", hidden)
    write("full.jsonl", [{"id": item["id"], "text": item["text"]} for item in held])
    write("title.jsonl", [{"id": item["id"], "text": item["attributes"]["title"]} for item in held])

    voices, titles, seen = Voices(espeak.UNSEEN_VARIANTS), set(), []
    for item in random.Random(1).sample(trained, len(trained)):
        key = common.title_key(item["attributes"]["title"])
        if key not in titles and len(seen) < SEEN:
            titles.add(key)
            seen.append(item)
    write("seen.jsonl", seen)
    for name, group in (("seen", seen), ("held", held)):
        said = [{"id": item["id"], "audio": voices.say(item["attributes"]["title"], f"{name}/{i}")}
                for i, item in enumerate(group)]
        write(f"spoken-{name}.jsonl", [line for line in said if line["audio"]])


if __name__ == "__main__":
    main()
