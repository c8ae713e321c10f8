#!/usr/bin/env python3
"""Makes clip_text.json with the reference implementation (pip: torch, open_clip_torch, transformers).

Usage: clip_text.py >clip_text.json
A tiny CLIP of open_clip's, with weights made from their names (../../shared/golden/README.md has the recipe; the name of
the architecture is "clip-tiny"): encode_text in f32, one text at a time, as it leaves the network."""
import json
import os
import sys

import numpy as np
import torch
from open_clip.model import CLIP
from transformers import CLIPTokenizer

ARCH = "clip-tiny"
CONFIG = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 2514, "width": 64, "heads": 4, "layers": 3},
}
TEXTS = [
    "",
    "magpie",
    "a photo of a cat",
    "A photo of two dogs, 35mm f/1.8 (B&W)",
    "it's a bird, isn't it?",
    "before the end<|endoftext|>behind it",
    "雨の日の東京、傘とネオン",
    "crème brûlée à la carte",
    "the wind rose over the hills and the shepherd counted his flock again " * 9,
]
MASK = (1 << 64) - 1


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def uniform(name, n):
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a64(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / (1 << 24)


def fill(model):
    for name, tensor in model.state_dict().items():
        if name.startswith("visual.") or not tensor.ndim:
            continue
        u = uniform(f"{ARCH}.{name}", tensor.numel())
        if tensor.ndim >= 2:
            value = (2 * u - 1) * np.sqrt(6.0 / (tensor.numel() // tensor.shape[0]))
        else:
            value = 0.2 * u - 0.1 if name.endswith("bias") else 0.5 + 0.5 * u
        tensor.copy_(torch.from_numpy(value.astype(np.float32).reshape(tensor.shape)))
    return model.eval()


tokenizer = CLIPTokenizer.from_pretrained(os.path.join(os.path.dirname(os.path.abspath(__file__)), "clip"))
torch.set_num_threads(1)
result = {}
with torch.inference_mode():
    for name, quick in (("quick_gelu", True), ("gelu", False)):
        model = fill(CLIP(**CONFIG, quick_gelu=quick))
        rows = []
        for text in TEXTS if quick else TEXTS[:4]:
            ids = tokenizer(text, truncation=True, max_length=77)["input_ids"]
            vector = model.encode_text(torch.tensor([ids + [0] * (77 - len(ids))]))[0]
            rows.append({"text": text, "vector": [round(x, 6) for x in vector.tolist()]})
        result[name] = rows
shapes = {k: list(v.shape) for k, v in model.state_dict().items() if not k.startswith("visual.")}
print(*[f"{k} {v}" for k, v in shapes.items() if ".1." not in k and ".2." not in k], sep="\n", file=sys.stderr)
print("{" + ",\n".join(f'"{k}": [\n' + ",\n".join(json.dumps(r) for r in v) + "\n]" for k, v in result.items()) + "}")
