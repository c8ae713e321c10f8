#!/usr/bin/env python3
"""Makes clip/vocab.json, clip/merges.txt and clip_tokens.json (pip: transformers; open_clip_torch and ftfy for the table).

Usage: clip_tokens.py BPE_SIMPLE_VOCAB_16E6.TXT.GZ [GOLDEN.PY]
The vocabulary is CLIP's with its first MERGES merges. Ids are those of transformers' CLIPTokenizer, cut at 77. GOLDEN.PY
(../shared/bench/golden.py) lends its TEXTS. Where open_clip's own tokenizer gives other ids, the case says so
("open_clip": false), and standard error counts."""
import ast
import gzip
import json
import os
import sys
import tempfile

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from transformers import CLIPTokenizer

MERGES = 2000
CONTEXT = 77
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clip")

TEXTS = [
    "<|startoftext|>", "a<|endoftext|>b", "<|ENDOFTEXT|>!! <|StartOfText|>", "!!<|STARTOFTEXT|>", "<|endoftext|>\u0338",
    "it's IT'S 'Tis '' 'll 'LL we'Re don't' 'sound !'s", "\u2019s it\u2019s", "'\u017f 's", "\u0130'S \u0130\u0130",
    "1\u00b2\u0663\u2167\u4e00\u3007 12 \u00bd", "a1b2 c_d -- --a", "\u1e9b\u0323 \u01c5 \u212b \u2126 \u212a",
    "e\u0301 e\u0323\u0302 e\u0302\u0323 a\u0315\u0300\u05ae\u0062", "\u1112\u1161\u11ab \ud55c \uac00\u11a8 \u1100\u1100\u1161",
    "\u0338\u0301\u0300 start", "a\u0334\u0338 <\u0338 =\u0338", "\u0958 \u0928\u093c \ufb1d \u2adc \u0f43", "\U0001d15e\U0002f800",
    "a\u2028b\u2029c\u0085d\u00a0e\u1680f\u180eg\u200bh\u3000i", "\u0000a\u0000", "\t\n\v\f\r x \x1c\x1d\x1e\x1f",
    "&amp; &lt;b&gt; &quot;", "\u00e2\u20ac\u2122 mojibake", "\u201ccurly\u201d", "\u03a3\u03a3 \u039f\u03a3 \u1e9e", "\u0345\u0301\u03b1",
    "\U00010400\U00010428\U0001e900 \U0001f469\u200d\U0001f52c", "z" * 40 + "th" * 40, "the" * 200, "\u00e9" * 80, "in" * 33 + " in",
    "antidisestablishmentarianism" * 5, "word " * 100, "! " * 100, "\u0301" * 50 + "\u0323" * 50,
    "a photo of a cat", "A photo of two dogs, 35mm f/1.8 (B&W)", "\u4e2d\u6587\u0301 \u6771\u4eac\u30bf\u30ef\u30fc \u304b\u3099",
]


def shared_texts(path):
    for node in ast.parse(open(path, encoding="utf-8").read()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "TEXTS":
            return eval(compile(ast.Expression(node.value), path, "eval"))


merges = gzip.open(sys.argv[1]).read().decode("utf-8").split("\n")[1 : MERGES + 1]
spelled = list(bytes_to_unicode().values())
vocabulary = spelled + [s + "</w>" for s in spelled] + ["".join(m.split()) for m in merges]
vocabulary += ["<|startoftext|>", "<|endoftext|>"]
os.makedirs(FOLDER, exist_ok=True)
with open(FOLDER + "/vocab.json", "w") as file:
    json.dump({token: id for id, token in enumerate(vocabulary)}, file)
with open(FOLDER + "/merges.txt", "w", encoding="utf-8") as file:
    file.write("#version: 0.2\n" + "\n".join(merges) + "\n")

tokenizer = CLIPTokenizer.from_pretrained(FOLDER)
with tempfile.NamedTemporaryFile(suffix=".gz") as file:
    file.write(gzip.compress(("#version\n" + "\n".join(merges)).encode()))
    file.flush()
    simple = SimpleTokenizer(file.name)

cases, other = [], []
for text in TEXTS + (shared_texts(sys.argv[2]) if len(sys.argv) > 2 else []):
    ids = tokenizer(text, truncation=True, max_length=CONTEXT)["input_ids"]
    case = {"text": text, "ids": ids}
    if simple([text])[0].tolist() != ids + [0] * (CONTEXT - len(ids)):
        case["open_clip"] = False
        other.append(text)
    cases.append(case)
with open(FOLDER + "_tokens.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
print(f"{len(cases)} texts; open_clip has other ids for {len(other)}:", file=sys.stderr)
for text in other:
    print("   ", ascii(text[:60]), file=sys.stderr)
