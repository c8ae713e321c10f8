#!/usr/bin/env python3
"""A catalogue of Tux Paint's stamps as Debian ships them: one JSON line a stamp, the only items with sound.

A stamp is NAME.txt (a sentence in some 70 languages) with any of NAME.png, NAME.svg, NAME.ogg (a sound effect),
NAME_desc.ogg (the sentence, spoken) and NAME_desc_LL.ogg (spoken in the language LL). We walk the .txt files:
what else lies there (_mirror.png, .dat) belongs to a stamp and is none.
"""

import os
import re
import sys
from collections import Counter

sys.dont_write_bytecode = True  # the folder may be read-only, and is a source folder in any case
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from catalogue_line import (branches, capitalised, clean, compose_text, fingerprint, main,  # noqa: E402
                            picture_fault, unique, valid_id)

FOLDER = "/usr/share/tuxpaint/stamps"
LICENCE = "GPL-2+"  # of the package as a whole; see its copyright file

# Titles of these languages go into the item: enough to try a multilingual encoder, and small.
TITLE_LANGUAGES = {"ar": "ar", "de": "de", "es": "es", "fr": "fr", "it": "it", "ja": "ja", "pt": "pt", "ru": "ru",
                   "zh_CN": "zh"}
# Here NAME.ogg is the name of a letter or a digit, spoken, and not an effect.
SPOKEN_BRANCHES = ("symbols/alphabets", "symbols/math")


# ---- words ------------------------------------------------------------------------------------------------

def read_sentences(path):
    """The English sentence, and the others by language ("de.utf8=Ein Frosch.")."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = file.read().splitlines()
    english = clean(lines[0]) if lines else ""
    pairs = (re.fullmatch(r"([A-Za-z_@]+)\.utf8=(.*)", line) for line in lines[1:])
    return english, {match[1]: clean(match[2]) for match in pairs if match and clean(match[2])}


def as_title(sentence):
    """"A frog." as "A frog": a title has no full stop, and no dash before it."""
    return capitalised(re.sub(r"(?<!\.)[.。]$", "", sentence.lstrip("–—- ")))


def other_titles(english, sentences):
    """A handful of languages; one that repeats the English was never translated."""
    titles = {short: as_title(sentences.get(code, "")) for code, short in TITLE_LANGUAGES.items()}
    return {short: title for short, title in titles.items() if title and title != as_title(english)}


def language_count(sentences):
    """Languages, not their variants: en_GB and sr@latin are no further ones."""
    return len({"en"} | {re.split("[_@]", code)[0] for code in sentences})


def name_words(stem):
    """The words of a file name, without numbers and one- or two-letter codes ("frog-1", "op7_times")."""
    return " ".join(word for word in re.findall(r"[A-Za-z]{3,}", stem)).casefold()


def folder_words(category):
    return [word for level in category.split("/") for word in [re.sub(r"[\d_]+", " ", level).strip()] if word]


# ---- sound ------------------------------------------------------------------------------------------------

def first_existing(names):
    return next((name for name in names if os.path.isfile(name)), None)


def sound_of(base, category):
    """(file, kind): the effect before the spoken English, which is the plain file or one of en_GB, en_AU ..."""
    effect = first_existing([base + ".ogg", base + ".wav"])
    if effect:
        return effect, "speech" if category.startswith(SPOKEN_BRANCHES) else "effect"
    stems = [base + "_desc", base + "_desc_en", base + "_desc_en_GB", base + "_en", base + "_en_GB"]
    return first_existing([stem + suffix for stem in stems for suffix in (".ogg", ".wav")]), "speech"


# ---- stamps to items --------------------------------------------------------------------------------------

def find_stamps(folder):
    """Relative paths without suffix."""
    for path, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.endswith(".txt"):
                yield os.path.relpath(os.path.join(path, file), folder)[:-len(".txt")]


def usable_image(base, left_out):
    """The PNG. An SVG alone would have to be rendered first, and then it is no file of the package any more."""
    image = base + ".png"
    if not os.path.isfile(image):
        kind = "an SVG only" if os.path.isfile(base + ".svg") else "none in the package"
        left_out[f"without a picture: {kind}"] += 1
        return None
    fault = picture_fault(image)
    if fault:
        left_out[f"without their picture: {fault}"] += 1
    return None if fault else image


def make_item(folder, path, left_out):
    base = os.path.join(folder, path)
    category = os.path.dirname(path) or "unsorted"
    english, sentences = read_sentences(base + ".txt")
    title = as_title(english) or capitalised(name_words(os.path.basename(path)))
    if not title:
        left_out["left out: neither a text nor a name with words"] += 1
        return None
    keywords = unique([name_words(os.path.basename(path))] + folder_words(category)[::-1])
    item = {"id": "tuxpaint/" + path, "text": compose_text(title, "", keywords)}
    image = usable_image(base, left_out)
    if image:
        item["image"] = image
    sound, kind = sound_of(base, category)
    if sound:
        item["audio"] = sound
    item["attributes"] = {
        "source": "tuxpaint", "title": title, "category": category, "categories": branches(category),
        "keywords": keywords, "licence": LICENCE, "titles": other_titles(english, sentences),
        "language_count": language_count(sentences), "has_sound": bool(sound),
        **({"audio_kind": kind} if sound else {}),
    }
    return item


def without_doubles(items, left_out):
    """Items with the same text, picture and sound appear once."""
    seen = set()
    for item in items:
        files = (item.get(kind) for kind in ("image", "audio"))
        key = (item["attributes"]["title"], *(file and fingerprint(file) for file in files))
        if "image" in item and key in seen:
            left_out["left out: same title, picture and sound as another"] += 1
            continue
        seen.add(key)
        yield item


def make_catalogue(folder):
    left_out = Counter()
    items = []
    for path in find_stamps(folder):
        if not valid_id("tuxpaint/" + path):
            left_out["left out: the file name cannot be an id"] += 1
            continue
        item = make_item(folder, path, left_out)
        if item:
            items.append(item)
    return list(without_doubles(items, left_out)), +left_out  # + drops the zeros


if __name__ == "__main__":
    main("tuxpaint", FOLDER, "tuxpaint-stamps-default", make_catalogue)
