#!/usr/bin/env python3
"""Pictures to train the starter image encoder on: pictures.py CATALOGUE

Writes ~/.cache/magpie/starter/pictures/: views.npy [n, VIEWS, STORED, STORED, 3] uint8, teacher.npy
[n, VIEWS, 1280] float16, texts.npy [n, TEXTS, 384] float16 and pictures.json. A view is a random cut of a
picture; student and teacher look at the same one, as a good teacher is consistent (Beyer et al. 2022): the
student at what the C encoder makes of it (both sides resized), the teacher padded to a square on white.

Nothing with a held-out title is in it. Of the sources only the catalogue itself is needed; the others are
Debian packages and are used where they are installed: fonts-noto-color-emoji with unicode-cldr-core,
oxygen-icon-theme, and photographs (cut to pieces, without texts) of mate-backgrounds, gnome-backgrounds and
plasma-workspace-wallpapers."""

import json
import random
import sys
import xml.etree.ElementTree
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

import common
import teacher

VIEWS, TEXTS, STORED = 5, 4, 144
FOLDER = common.CACHE / "pictures"
EMOJI_FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
ANNOTATIONS = ["/usr/share/unicode/cldr/common/annotations/en.xml",
               "/usr/share/unicode/cldr/common/annotationsDerived/en.xml"]
PHOTOGRAPHS = ["/usr/share/backgrounds", "/usr/share/wallpapers"]
CUTS = 14  # of a photograph

Image.MAX_IMAGE_PIXELS = None


# ---- sources: dictionaries with where the picture is, and title, keywords and whole text where there are ----

def from_catalogue(path):
    for item in common.catalogue(path):
        attributes = item["attributes"]
        if "image" in item and not common.held_out(attributes["title"]):
            yield {"file": item["image"], "title": attributes["title"], "text": item["text"],
                   "keywords": attributes.get("keywords", [])}


def from_emoji():
    names, keywords = {}, {}
    for path in ANNOTATIONS:
        if not Path(path).exists():
            return
        for entry in xml.etree.ElementTree.parse(path).iter("annotation"):
            sign = entry.get("cp")
            if entry.get("type") == "tts":
                names[sign] = entry.text
            else:
                keywords[sign] = [word.strip() for word in entry.text.split("|")]
    for sign, name in sorted(names.items()):
        skin = any(0x1F3FB <= ord(c) <= 0x1F3FF for c in sign)
        if skin or ord(sign[0]) < 0x203C or common.held_out(name):
            continue
        words = [word for word in keywords.get(sign, []) if word != name]
        yield {"emoji": sign, "title": name, "keywords": words, "text": f"{name}. {', '.join(words)}."}


def from_icons():
    largest = {}
    for size in ("128x128", "256x256"):
        for path in sorted(Path("/usr/share/icons/oxygen/base").glob(f"{size}/*/*.png")):
            if path.parent.name != "mimetypes" and path.is_file():
                largest[path.stem] = str(path)
    for name, path in sorted(largest.items()):
        title = name.replace("-", " ").replace("_", " ").replace(".", " ")
        if not common.held_out(title):
            yield {"file": path, "title": title, "keywords": [], "text": title}


def from_photographs():
    for root in PHOTOGRAPHS:
        paths = [p for p in sorted(Path(root).rglob("*")) if p.suffix in (".jpg", ".png", ".webp")]
        for path in paths:
            if "screenshot" in path.name or path.is_symlink():
                continue
            with Image.open(path) as picture:
                width, height = picture.size
            for cut in range(CUTS if min(width, height) >= 700 else 0):
                chance = random.Random(f"{path.name} {cut}")
                side = chance.uniform(0.25, 0.9) * min(width, height)
                x, y = chance.uniform(0, width - side), chance.uniform(0, height - side)
                yield {"file": str(path), "box": [int(x), int(y), int(x + side), int(y + side)]}


def texts_of(picture, chance):
    """The whole text, the title, and two mixtures, so that the encoder learns what single words look like."""
    if "title" not in picture:
        return [""] * TEXTS
    out = [picture["text"], picture["title"]]
    words = picture["keywords"]
    while len(out) < TEXTS:
        some = chance.sample(words, min(len(words), chance.randint(1, 4)))
        out.append(", ".join(some) if some and chance.random() < 0.5 else ". ".join([picture["title"]] + some))
    return out


# ---- views ----

emoji_font = None


def load(picture):
    global emoji_font
    if "emoji" in picture:
        emoji_font = emoji_font or ImageFont.truetype(EMOJI_FONT, 109)
        left, top, right, bottom = emoji_font.getbbox(picture["emoji"])
        image = Image.new("RGBA", (max(right, 8), max(bottom, 8)))
        ImageDraw.Draw(image).text((0, 0), picture["emoji"], font=emoji_font, embedded_color=True)
        image = image.crop((max(left, 0), max(top, 0), image.width, image.height))
    else:
        with Image.open(picture["file"]) as file:
            image = (file.crop(picture["box"]) if "box" in picture else file).convert("RGBA")
        image.thumbnail((512, 512), Image.Resampling.BILINEAR)
    if min(image.size) < 8:
        raise ValueError("too thin")
    return image


def on_white(image):
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def cut(image, chance):
    """30 to 100% of the area, another aspect, sometimes turned and with other colours."""
    if chance.random() < 0.3:
        image = image.rotate(chance.uniform(-20, 20), Image.Resampling.BILINEAR, expand=True)
    area = chance.uniform(0.3, 1) * image.width * image.height
    aspect = image.width / image.height * 2 ** chance.uniform(-0.5, 0.5)
    width = min(image.width, max(8, round((area * aspect) ** 0.5)))
    height = min(image.height, max(8, round((area / aspect) ** 0.5)))
    x, y = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    image = on_white(image.crop((x, y, x + width, y + height)))
    if chance.random() < 0.5:
        for change in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
            image = change(image).enhance(chance.uniform(0.6, 1.4))
    if chance.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def padded(image, side):
    """Padded to a square on white, as the teacher sees a picture."""
    square = Image.new("RGB", (max(image.size),) * 2, "white")
    square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
    return square.resize((side, side), Image.Resampling.BILINEAR)


network = None


def start_worker():
    import openvino
    import torch

    global network
    torch.set_num_threads(1)
    model = openvino.convert_model(teacher.load(), example_input=torch.zeros(1, 3, teacher.SIZE, teacher.SIZE))
    network = openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})


def work(picture):
    chance = random.Random(json.dumps(picture, sort_keys=True))
    try:
        image = load(picture)
        cuts = [on_white(image)] + [cut(image, chance) for _ in range(VIEWS - 1)]
    except (OSError, ValueError, SyntaxError) as error:
        print(f"{picture}: {error}", file=sys.stderr)
        return None
    views = np.stack([np.asarray(c.resize((STORED, STORED), Image.Resampling.BILINEAR)) for c in cuts])
    seen = np.stack([np.asarray(padded(c, teacher.SIZE)) for c in cuts])
    features = network(seen.transpose(0, 3, 1, 2).astype(np.float32))[0]
    return picture, views, features.astype(np.float16)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    pictures = [*from_catalogue(sys.argv[1]), *from_emoji(), *from_icons(), *from_photographs()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    views = np.lib.format.open_memmap(FOLDER / "views.npy", "w+", np.uint8,
                                      (len(pictures), VIEWS, STORED, STORED, 3))
    features = np.lib.format.open_memmap(FOLDER / "teacher.npy", "w+", np.float16,
                                         (len(pictures), VIEWS, teacher.FEATURES))
    kept = []
    with Pool(2, start_worker) as pool:
        for done, result in enumerate(pool.imap(work, pictures, 8), 1):
            if result:
                picture, views[len(kept)], features[len(kept)] = result
                kept.append(picture)
            if done % 500 == 0:
                print(f"{done} of {len(pictures)}", file=sys.stderr, flush=True)
    lines = [line for picture in kept for line in texts_of(picture, random.Random(picture.get("title")))]
    distinct = sorted(set(lines))
    place = {line: i for i, line in enumerate(distinct)}
    vectors = common.embed_texts(distinct).astype(np.float16)
    np.save(FOLDER / "texts.npy", vectors[[place[line] for line in lines]].reshape(len(kept), TEXTS, -1))
    (FOLDER / "pictures.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
