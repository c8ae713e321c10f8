#!/usr/bin/env python3
"""Makes text_embeddings.json with the reference implementation (pip: torch, transformers).

Usage: text_embeddings.py MODEL >text_embeddings.json
One text at a time, so without padding; f32; mean of all token vectors; divided by its Euclidean length. The first 48
numbers of each vector are kept: enough to tell any mistake, and small."""
import json
import sys

import torch
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "",
    "magpie",
    "A black and white bird on a fence, looking at something shiny.",
    "Waterproof hiking boots, size 42, brown leather",
    "Brass pocket watch with a chain; engraved lid; works (loses a minute a week)",
    "Une pie voleuse chante au-dessus des toits de Lübeck à l'aube.",
    "雨の日の東京、傘とネオン",
    "USB-C → HDMI 2.1 adapter (8K@60Hz), aluminium, 0.2 m",
    "the the the the the the the the the the the the the the the the",
    "the wind rose over the hills and the shepherd counted his flock again " * 40,
]

model = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(model)
network = AutoModel.from_pretrained(model, attn_implementation="eager").float().eval()
rows = []
with torch.inference_mode():
    for text in TEXTS:
        batch = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        vector = torch.nn.functional.normalize(network(**batch).last_hidden_state[0].mean(0), dim=0)
        rows.append({"text": text, "vector": [round(x, 7) for x in vector[:48].tolist()]})
print("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]")
