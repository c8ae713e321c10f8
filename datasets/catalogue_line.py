"""What every catalogue script here needs: clean words, readable text, pictures that can be used, lines in order.

A line of the catalogue is one item as JSON (see README.md). The scripts of the datasets read what a package
ships and build items; everything that must be the same for all of them is in this file.
"""

import hashlib
import html
import json
import os
import re
import struct
import sys
import unicodedata

ID_BYTES = 511             # the longest id that the index takes as a key
PICTURE_MIN_SIDE = 4       # px; a few pictures were rendered at 3 x 2, nothing can be seen on them
PICTURE_MAX_PIXELS = 40_000_000  # a few were rendered at 20,000 x 30,000: gigabytes once they are decoded

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
MARKUP = re.compile(r"</?[A-Za-z][^<>]*>")
ADDRESS = re.compile(r"(?:\be-?mail\W*)?[^\s(]+@\S+\.\w+|https?://\S+|\bwww\.\S+|\[\s*\]|\(\s*\)|<\s*>", re.IGNORECASE)


# ---- words ----------------------------------------------------------------------------------------------

def repair_mojibake(text):
    """UTF-8 that was read as Latin-1 once ("LÃ©zard"), and bytes of Windows-1252 left in the C1 range."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return re.sub("[\x80-\x9f]", lambda c: c[0].encode("latin-1").decode("cp1252", "ignore"), text)


def clean(text):
    """One line of plain words: no markup, entities, addresses or control characters."""
    text = html.unescape(html.unescape(text or ""))  # twice: some of it was escaped twice
    text = repair_mojibake(text)
    text = MARKUP.sub(" ", COMMENT.sub(" ", text))
    text = ADDRESS.sub(" ", ADDRESS.sub(" ", text))  # twice: brackets that the first pass has emptied
    text = "".join(" " if unicodedata.category(c)[0] == "C" or c.isspace() else c for c in text)
    text = re.sub(r"\s+([,.;!?])(?=\s|$)", r"\1", text)
    return unicodedata.normalize("NFC", " ".join(text.split())).strip(" ,;:-")


def words(text):
    return re.findall(r"[^\W_]+", text.casefold())


def says(text, phrase):
    """Whether every word of the phrase is in the text already."""
    return set(words(phrase)) <= set(words(text))


def capitalised(text):
    return text[:1].upper() + text[1:]


def sentence(text):
    return text if re.search(r"[.!?…][\"'”»)]*$", text) else text + "."


def shortened(text, limit=300):
    """The first sentences of a long description: an encoder averages over all it reads, the title would drown."""
    if len(text) <= limit:
        return text
    end = max(text.rfind(mark, 0, limit) for mark in (". ", "! ", "? "))
    return text[:end + 1] if end > 0 else text[:text.rfind(" ", 0, limit)] + " …"


def compose_text(title, description, keywords):
    """What the text encoder reads: title, description, and the keywords that neither has named."""
    text = sentence(capitalised(title))
    if description and not says(text, description):
        text += " " + sentence(capitalised(shortened(description)))
    new = []
    for keyword in keywords:
        if not says(text + " " + " ".join(new), keyword):
            new.append(keyword)
    return text + (" " + sentence(capitalised(", ".join(new))) if new else "")


def unique(values):
    """Without repetition or empty ones, first come first kept."""
    return list(dict.fromkeys(v for v in values if v))


def branches(category):
    """"a/b/c" as "a", "a/b", "a/b/c": a filter on one value then takes in the whole branch."""
    parts = category.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]


# ---- pictures -------------------------------------------------------------------------------------------

def picture_fault(path):
    """Why the PNG is of no use, or None. Reads the header only."""
    with open(path, "rb") as file:
        header = file.read(24)
    if len(header) < 24 or header[:8] != PNG_SIGNATURE or header[12:16] != b"IHDR":
        return "not a PNG"
    width, height = struct.unpack(">II", header[16:24])
    if min(width, height) < PICTURE_MIN_SIDE:
        return f"smaller than {PICTURE_MIN_SIDE} px"
    if width * height > PICTURE_MAX_PIXELS:
        return f"more than {PICTURE_MAX_PIXELS // 1_000_000} million pixels"
    return None


def fingerprint(path):
    """Equal for files with equal bytes."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


# ---- lines ----------------------------------------------------------------------------------------------

def valid_id(name):
    """Whether the id is UTF-8 of a length that the index can store (a file name need not be either)."""
    try:
        return 1 <= len(name.encode("utf-8")) <= ID_BYTES
    except UnicodeEncodeError:
        return False


def write_items(items, out):
    """In the order of the ids' bytes, so that two runs give the same file."""
    for item in sorted(items, key=lambda item: item["id"].encode("utf-8")):
        out.write(json.dumps(item, ensure_ascii=False).encode("utf-8") + b"\n")
    out.flush()


def report(name, items, left_out):
    """What was made and what was not, on stderr: stdout is the catalogue."""
    print(f"{name}: {len(items)} items, {sum('image' in i for i in items)} with a picture, "
          f"{sum('audio' in i for i in items)} with sound", file=sys.stderr)
    for why, count in sorted(left_out.items()):
        print(f"{name}: {count} {why}", file=sys.stderr)


def main(name, default_folder, package, make):
    """The program around a dataset: catalogue.py [FOLDER], items to stdout. make(folder) gives items and a Counter."""
    folder = sys.argv[1] if len(sys.argv) > 1 else default_folder
    if len(sys.argv) > 2 or not os.path.isdir(folder):
        sys.exit(f"{name}: no folder {folder} (Debian package {package}); usage: catalogue.py [FOLDER]")
    try:
        items, left_out = make(folder)
        if not items:
            sys.exit(f"{name}: nothing to read in {folder} (Debian package {package})")
        write_items(items, sys.stdout.buffer)
    except OSError as error:
        sys.exit(f"{name}: {error}")
    report(name, items, left_out)
