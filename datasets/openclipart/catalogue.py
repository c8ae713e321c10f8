#!/usr/bin/env python3
"""A catalogue of the Open Clip Art Library as Debian ships it: one JSON line a picture.

The PNG is the picture, the SVG at the same relative path tells what it shows (RDF: title, description, keywords,
author, licence). Two passes, because what a title is worth shows only when all are known: some hundreds of
pictures bear the name of their collection instead ("Lemon SVG theme"), and then the file name says more.
"""

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict

sys.dont_write_bytecode = True  # the folder may be read-only, and is a source folder in any case
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from catalogue_line import (branches, capitalised, clean, compose_text, fingerprint, main,  # noqa: E402
                            picture_fault, says, unique, valid_id, words)

FOLDER = "/usr/share/openclipart"
SKIPPED_BRANCHES = {"shapes"}  # 1,500 generated polygons and stars, nothing to search for

COLLECTION_NAMES = 5     # a title over so many differently named pictures names their collection
SHARED_DESCRIPTIONS = 5  # a description of so many pictures describes none of them
SHARED_PICTURES = 9      # one picture under so many titles is a rendering that failed, not a synonym

PERL_REFERENCE = re.compile(r"\bhash\(0x[0-9a-f]+\)?", re.IGNORECASE)  # printed by the library's own tools
# What those tools, and people in need of a keyword, left among the keywords.
NOISE_KEYWORDS = {"hash", "magick", "unsorted", "duplicates", "clipart", "clip art", "open clip art library", "svg",
                  "png", "image", "images", "none", "theme", "icons", "special", "work", "simple", "stuff", "misc",
                  "openclipart", "lemon theme icon"}
# Words that the keywords run together; apart, an encoder knows them.
SPLIT_WORDS = {"bodypart": "body part", "bullethole": "bullet hole", "icecream": "ice cream", "roadsign": "road sign",
               "signalflag": "signal flag", "unitedstates": "united states", "northamerica": "north america",
               "latinamerica": "latin america", "airtravel": "air travel", "appicon": "application icon",
               "mapsym": "map symbol", "networksym": "network symbol", "weathersym": "weather symbol",
               "musicsym": "music symbol", "musicstuff": "music", "xmas": "christmas"}
SUITS = {"c": "clubs", "d": "diamonds", "h": "hearts", "s": "spades"}
RANKS = {"a": "ace", "j": "jack", "q": "queen", "k": "king"}

# Descriptions that tell where a picture came from or how it was made, not what it shows.
CREDIT = re.compile(r"eps converted|contact|e-?mail|data from|this work is (hereby|dedicated)|"
                    r"(made|created?|drawn) (with|in|using) (the )?(inkscape|sodipodi)\W*$", re.IGNORECASE)

DC = "{http://purl.org/dc/elements/1.1/}"
CC = "{http://web.resource.org/cc/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


# ---- the SVG's metadata -----------------------------------------------------------------------------------

def plain(text):
    return clean(PERL_REFERENCE.sub(" ", text or ""))


def read_metadata(svg):
    """Title, description, keywords, author and licence, cleaned; raises ParseError for a broken file."""
    works = ElementTree.parse(svg).getroot().iter(CC + "Work")
    work = next((w for w in works if plain(w.findtext(DC + "title"))), None)
    if work is None:
        return {}
    author = plain(work.findtext(f"{DC}creator/{CC}Agent/{DC}title"))
    return {
        "title": plain(work.findtext(DC + "title")),
        "description": plain(work.findtext(DC + "description")),
        "keywords": [plain(li.text) for li in work.iterfind(f"{DC}subject/{RDF}Bag/{RDF}li")],
        "author": author,
        "licence": licence_name(work.find(CC + "license")),
    }


def licence_name(element):
    address = "" if element is None else element.get(RDF + "resource", "")
    if re.search("public_?domain", address, re.IGNORECASE):
        return "public domain"
    match = re.search(r"/licenses/([\w-]+)/([\d.]+)", address)
    return f"{match[1]}-{match[2]}" if match else "unstated"


# ---- the file's name --------------------------------------------------------------------------------------

def without_author(stem, author):
    """"pencil_author_name_01" without number and author: the library made names of title, author and number, cut off."""
    stem = re.sub(r"_(\d\d[a-z]?)?_*$", "", stem)
    slug = "_".join(words(author))
    for match in re.finditer("_", stem):
        tail = "_".join(words(stem[match.end():]))
        if len(tail) >= 2 and slug.startswith(tail):
            return stem[:match.start()]
    return stem


def name_as_title(stem, author):
    """The words of a file name. A digit after a longer word is a serial number ("toilets1", "tigre03")."""
    name = re.sub(r"[\W_]+", " ", without_author(stem, author)).strip()
    name = re.sub(r"(?<=[A-Za-z]{3})(\s?0)?\d\b| md$", "", name)
    return capitalised(name) or capitalised(stem)


def card_as_title(stem):
    """"bordered_h_2" as "2 of hearts": the playing cards' names are the only place that tells the suit."""
    match = re.fullmatch(r"[a-z]+_([cdhs])_(\d+|[ajqk])", stem)
    return f"{RANKS.get(match[2], match[2])} of {SUITS[match[1]]}" if match else ""


# ---- what the metadata is worth ---------------------------------------------------------------------------

def tidy_title(title):
    """A title as a person would write it: spaces for underscores, no file suffix, no serial number.

    "Clipart by ... - arrow" is none: the same one stands in all the author's files, whatever they show.
    """
    if re.match(r"clip ?art by .* - ", title, re.IGNORECASE):
        return ""
    title = re.sub(r"\.(svg|png)$", "", title, flags=re.IGNORECASE).replace("_", " ")
    return re.sub(r"(?<=[^\W\d])\s?0\d$", "", title).strip()


def collection_titles(pictures):
    """The titles that stand over many pictures of different names without being in those names."""
    names = defaultdict(set)
    for picture in pictures:
        if not says(picture["name"], picture["title"]):
            names[picture["title"]].add(picture["name"])
    return {title for title, different in names.items() if len(different) >= COLLECTION_NAMES}


def tidy_collection(title):
    title = re.sub(r"^part of (the )?", "", title, flags=re.IGNORECASE)
    return capitalised(re.sub(r"\s*\([^)]*\d{4}\)$", "", title))


def tidy_keywords(keywords, author):
    """Lower case, no noise, no author's name, no bare numbers or letters."""
    tidy = (keyword.replace("_", " ").strip().casefold() for keyword in keywords)
    tidy = (SPLIT_WORDS.get(keyword, keyword) for keyword in tidy)
    return unique(k for k in tidy if len(k) > 1 and not k.isdigit() and k not in NOISE_KEYWORDS
                  and not says(author, k))


def description_of(picture, shared):
    """The description if it describes: not shared by many, not the author's name, not where it was converted from."""
    text = picture["description"]
    if text in shared or not words(text) or says(picture["author"], text) or text.casefold() in NOISE_KEYWORDS:
        return ""
    return "" if CREDIT.match(text) else text


# ---- pictures to items ------------------------------------------------------------------------------------

def find_pictures(folder):
    """Relative paths without suffix. A link is a file here: the package keeps one copy and links the others."""
    for path, folders, files in os.walk(folder):
        folders.sort()
        if path == folder:
            folders[:] = [f for f in folders if f not in SKIPPED_BRANCHES]
        for file in sorted(files):
            whole = os.path.join(path, file)
            if file.endswith(".png") and os.path.isfile(whole):  # no link to nowhere
                yield os.path.relpath(whole, folder)[:-len(".png")]


def read_picture(folder, path, left_out):
    """What is known of one picture; a missing or broken SVG leaves its file name."""
    known = {}
    try:
        known = read_metadata(os.path.join(folder, "svg", path + ".svg"))
    except FileNotFoundError:
        left_out["without an SVG: titled by the file name"] += 1
    except (ElementTree.ParseError, ValueError, LookupError, OSError):
        left_out["with a broken SVG: titled by the file name"] += 1
    file = os.path.join(folder, "png", path + ".png")
    picture = {"path": path, "file": file, "bytes": fingerprint(file), "category": os.path.dirname(path) or "unsorted"}
    picture.update({"title": "", "description": "", "keywords": [], "author": "", "licence": "unstated"}, **known)
    stem = os.path.basename(path)
    picture["name"] = card_as_title(stem) or name_as_title(stem, picture["author"])
    picture["title"] = tidy_title(picture["title"])
    picture["keywords"] = tidy_keywords(picture["keywords"], picture["author"])
    return picture


def choose_titles(pictures):
    collections = collection_titles(pictures)
    for picture in pictures:
        if picture["title"] in collections:
            picture["collection"] = tidy_collection(picture["title"])
        if picture["title"] in collections or not words(picture["title"]):
            picture["title"] = picture["name"]
        picture["title"] = capitalised(picture["title"])


def merge_same(pictures, left_out):
    """One of each set with the same bytes and title; it keeps all the categories and keywords of the set.

    The one kept is in a real category rather than "unsorted", and as deep in the tree as there is.
    """
    sets = defaultdict(list)
    for picture in pictures:
        sets[picture["bytes"], picture["title"].casefold()].append(picture)
    kept = []
    for same in sets.values():
        same.sort(key=lambda p: (p["path"].startswith("unsorted"), -p["path"].count("/"), p["path"]))
        first = same[0]
        first["categories"] = unique(b for p in same for b in branches(p["category"]))
        first["keywords"] = unique(k for p in same for k in p["keywords"])
        left_out["left out: same picture and same title as another"] += len(same) - 1
        kept.append(first)
    return kept


def failed_renderings(pictures):
    titles = Counter(p["bytes"] for p in pictures)
    return {fingerprint for fingerprint, count in titles.items() if count >= SHARED_PICTURES}


def usable_image(picture, failed, left_out):
    fault = f"one picture for {SHARED_PICTURES} titles or more" if picture["bytes"] in failed \
        else picture_fault(picture["file"])
    if fault:
        left_out[f"without their picture: {fault}"] += 1
    return not fault


def category_words(category):
    """The innermost folder's name as a keyword, for a picture that has none."""
    word = category.rsplit("/", 1)[-1].replace("_", " ").replace("-", " ").casefold()
    return [] if word in NOISE_KEYWORDS else [word]


def make_item(picture, shared, with_image):
    keywords = picture["keywords"]
    item = {
        "id": "openclipart/" + picture["path"],
        "text": compose_text(picture["title"], description_of(picture, shared),
                             keywords or category_words(picture["category"])),
    }
    if with_image:
        item["image"] = picture["file"]
    optional = {"collection": picture.get("collection"), "author": picture["author"], "keywords": keywords}
    item["attributes"] = {
        "source": "openclipart", "title": picture["title"], "category": picture["category"],
        "categories": picture["categories"], "licence": picture["licence"], "has_sound": False,
        **{name: value for name, value in optional.items() if value},
    }
    return item


def make_catalogue(folder):
    left_out = Counter()
    pictures = []
    for path in find_pictures(os.path.join(folder, "png")):
        if valid_id("openclipart/" + path):
            pictures.append(read_picture(folder, path, left_out))
        else:
            left_out["left out: the file name cannot be an id"] += 1
    choose_titles(pictures)
    pictures = merge_same(pictures, left_out)
    counts = Counter(p["description"] for p in pictures)
    shared = {text for text, count in counts.items() if count >= SHARED_DESCRIPTIONS}
    failed = failed_renderings(pictures)
    items = [make_item(p, shared, usable_image(p, failed, left_out)) for p in pictures]
    return items, +left_out  # + drops the zeros


if __name__ == "__main__":
    main("openclipart", FOLDER, "openclipart-png, openclipart-svg", make_catalogue)
