"""What the training scripts share: the split, the catalogue, the texts' vectors.

The split is by title, and `magpie` makes the same one (magpie_title_held_out): an item is held out where the
FNV-1a hash of its title's key is a multiple of 5. So everything called alike is on one side, whatever
dataset it is from, and what is measured on held-out titles was seen by no backbone and no head."""

import json
import os
import re
from pathlib import Path

import numpy as np

CACHE = Path(os.environ.get("MAGPIE_CACHE", Path.home() / ".cache" / "magpie")) / "starter"
TEXT_MODEL = Path.home() / ".cache" / "magpie" / "models" / "all-MiniLM-L6-v2"
SPLIT = 5  # one title in five is held out


def title_key(title):
    """Runs of ASCII letters (lowered) and of bytes beyond ASCII, a space between; the title where none is."""
    raw = title.encode()
    return re.sub(rb"[^a-z\x80-\xff]+", b" ", raw.lower()).strip() or raw


def title_hash(title):
    value = 0xCBF29CE484222325
    for byte in title_key(title):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def held_out(title):
    return title_hash(title) % SPLIT == 0


def catalogue(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def embed_texts(texts, batch=256):
    """all-MiniLM-L6-v2: mean of the last layer's tokens, unit length; [n, 384] float32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TEXT_MODEL)
    model = AutoModel.from_pretrained(TEXT_MODEL).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.empty((len(texts), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            chunk = order[start:start + batch]
            tokens = tokenizer([texts[i] for i in chunk], padding=True, truncation=True, max_length=128,
                               return_tensors="pt")
            hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            out[chunk] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out
