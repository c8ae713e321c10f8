"""Prints the rows of the tables in encoders/characters.c: asks Hugging Face's Rust tokenizer about every code point.

    python characters.py
"""
import unicodedata

from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer


def normalizer(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return BertNormalizer(**{**off, **on})


CLEAN, CHINESE = normalizer(clean_text=True), normalizer(handle_chinese_chars=True)
STRIP, SPLIT, ORDER = normalizer(strip_accents=True), BertPreTokenizer(), NFD()


def kind(char):
    words = [word for word, _ in SPLIT.pre_tokenize_str("a" + char + "b")]
    cleaned = CLEAN.normalize_str(char)
    if CHINESE.normalize_str(char) != char:
        return "C"
    if cleaned == "":
        return "B" if words == ["a", "b"] else "D"
    if words == ["a", "b"]:
        return "S"
    if len(words) == 3:
        return "P"
    return "M" if STRIP.normalize_str(char) == "" else None


def letter_class(char):
    """Its combining class, where the tokenizer's NFD knows it and its accent stripping leaves it."""
    of_now = unicodedata.combining(char)
    if not of_now or STRIP.normalize_str(char) == "":
        return None
    overlay, iota = char + "\u0334", "\u0345" + char  # the lowest class but one, and the highest
    known = ORDER.normalize_str(overlay) != overlay or ORDER.normalize_str(iota) != iota
    return of_now if known else None


def show(name, value_of):
    rows = []
    for code in range(0x110000):
        value = None if 0xD800 <= code < 0xE000 else value_of(chr(code))
        if value is None:
            continue
        if rows and rows[-1][1] == code - 1 and rows[-1][2] == value:
            rows[-1][1] = code
        else:
            rows.append([code, code, value])
    print(name)
    for first, last, value in rows:
        print("    {0x%04X, 0x%04X, %s}," % (first, last, value))


show("ranges", kind)
show("letter_classes", letter_class)
