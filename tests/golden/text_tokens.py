"""Writes text_tokens.json: texts of our own and the ids that Hugging Face's Rust tokenizer gives them.

    python text_tokens.py MODEL_FOLDER > text_tokens.json
"""
import json
import sys

from tokenizers import Tokenizer

MAX_IDS = 64

TEXTS = [
    "",
    " \t\r\n ",
    "a",
    "Cast-iron skillet, 26 cm, pre-seasoned",
    "Wireless earbuds (2nd gen.) w/ charging case & 24h battery!",
    "MEN'S TRAIL-RUNNING SHOES - SIZE 42.5 / BLACK",
    "usb-c<->hdmi 2.1 cable,8k@60hz",
    "price: $1,299.00 (was ¥180,000 / €1.349,99)",
    "unbelievability of antidisestablishmentarianism",
    "Crème brûlée à la façon de grand-mère",
    "Ångström, naïve, Škoda, Łódź, Đorđe",
    "I\u0307stanbul \u0130zmir Diyarbak\u0131r",
    "Stra\u00dfe STRA\u1e9eE",
    "e\u0301 \u00e9 e\u0323\u0302 \u1ec7",
    "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2 \u03a3\u03a3 \u1f00\u03c1\u03c7\u1f74",
    "\u041a\u0440\u0430\u0441\u043d\u044b\u0439 \u0451\u0436 \u0419\u043e\u0434",
    "\u5357\u90e8\u9244\u5668 \u6025\u9808 1.2L",
    "\u65e0\u7ebf\u8033\u673aABC\u964d\u566a",
    "\u3053\u3093\u306b\u3061\u306f\u3001\u30ac\u30a4\u30c9\u30d6\u30c3\u30af\u3002",
    "\ud55c\uad6d\uc5b4 \uc0c1\ud488 \u1112\u1161\u11ab",
    "\u0627\u0644\u0633\u064e\u0651\u0644\u0627\u0645\u064f \u0639\u0644\u064a\u0643\u0645",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0915\u093f\u0924\u093e\u092c",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\U0001f469\u200d\U0001f52c\U0001f1e9\U0001f1ea \u2764\ufe0f 5\ufe0f\u20e3",
    "soft\u00adhyphen zero\u200bwidth \ufeffbom",
    "nul\x00 bell\x07 replacement\ufffd tab\tnext\x85line\u2028separator",
    "no\u00a0break\u3000ideographic\u2003em",
    "\ufb01ne o\ufb03ce \u2460 \u2167 \uff21\uff22\uff23",
    "\u2260 \u226e \u1fef \u037e \u212a \u212b",
    "x\u00b2 + y\u00b3 = \u221a2 \u2264 \u221e",
    "[SEP] in a text is a token, [sep] is not; so is [MASK]ed[CLS] [PAD][UNK]",
    "[[SEP]] [SEP",
    "##ing # #hashtag",
    "\u20ac\u20a9\u20b9 \u2014 \u2013 \u201cquoted\u201d \u2018it\u2019s\u2019 \u2026",
    "\ud7b0\u1ab0\u1abf \U0001e944a\u08d4",
    "\U00020000\U0002a6d6\U0002f800\uf900\u9fff",
    "\u1b44\u302e\U0001d165\U0001d16d of marks that are ordered",
    "a" * 100 + " " + "a" * 101,
    "\u00e9" * 100 + " " + "\u00e9" * 101,
    "a\u0301" * 101,
    "one two three four five six seven eight nine ten, " * 9,
    "supercalifragilistic " * 14,
]

tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(MAX_IDS)
cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS]
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
