"""Writes images.json: small pictures of every kind, as files, with the size and the hash of the RGB that Pillow makes of
them; and hashes of what Pillow resizes noise to.

    python images.py > images.json

Pictures: [kind, file in base64, width, height, FNV-1a 64 of the RGB bytes]. Resizes: [width, height, shortest, side,
filter, FNV-1a 64 of the crop]; the source's bytes are the top bytes of splitmix64 seeded with width * 65536 + height.
PNG is written by hand, since Pillow writes neither every depth nor interlaced ones; what it should look like is computed
from the samples, and compared with Pillow's reading wherever the two mean the same.
"""
import base64
import io
import json
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

M64 = (1 << 64) - 1


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in bytes(data):
        h = (h ^ byte) * 0x100000001B3 & M64
    return f"{h:016x}"


def noise(seed, count):
    state = seed + (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(56)).astype(np.uint8)


def photo(w, h, channels):
    """Smooth shapes, edges and some grain: what JPEG is for."""
    y, x = np.mgrid[0:h, 0:w]
    planes = [127 + 90 * np.sin((x * (c + 2) + y * (5 - c)) / 11.0) + 40 * (((x // 9 + y // 7 + c) % 2) - 0.5)
              for c in range(channels)]
    a = np.stack(planes, -1) + (noise(w * h, w * h * channels).reshape(h, w, channels) % 9)
    return np.clip(a, 0, 255).astype(np.uint8)


pictures = []


def add(kind, file, rgb=None):
    image = Image.open(io.BytesIO(file))
    seen = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if rgb is None:
        rgb = seen
    pictures.append([kind, base64.b64encode(file).decode(), rgb.shape[1], rgb.shape[0], fnv1a(rgb.tobytes())])
    return seen


# ---- JPEG ----

def jpeg(kind, image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    add(kind, out.getvalue())
    return out.getvalue()


W, H = 53, 37
colour = Image.fromarray(photo(W, H, 3))
for name, sampling in (("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)):
    jpeg(f"jpeg {name}", colour, quality=85, subsampling=sampling)
jpeg("jpeg progressive", colour, quality=80, progressive=True)
jpeg("jpeg restart", colour, quality=80, restart_marker_rows=1)
jpeg("jpeg rgb", colour, quality=90, keep_rgb=True)
jpeg("jpeg grey", Image.fromarray(photo(W, H, 1)[:, :, 0]), quality=85)
jpeg("jpeg one pixel", Image.fromarray(photo(1, 1, 3)), quality=85)
jpeg("jpeg column", Image.fromarray(photo(1, 40, 3)), quality=85)
cmyk = Image.fromarray(photo(W, H, 4), "CMYK")
plain = jpeg("jpeg cmyk", cmyk, quality=85)
# The same file with Adobe's transform set to 2 says YCCK of the same numbers.
at = plain.index(b"Adobe")
add("jpeg ycck", plain[:at + 11] + b"\x02" + plain[at + 12:])
jpeg("jpeg 90x70", Image.fromarray(photo(90, 70, 3)), quality=60)
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg(f"jpeg orientation {orientation}", Image.fromarray(photo(23, 17, 3)), quality=80, exif=exif)
little = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + b"\x0f\x01\x02\0\x04\0\0\0abc\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0" * 4
jpeg("jpeg orientation, little-endian", Image.fromarray(photo(23, 17, 3)), quality=80, exif=little)

# ---- PNG ----

def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def pack(samples, depth):
    """[h, w, channels] of one pass to filtered scanlines (a different filter each row where depth allows)."""
    out, before = b"", None
    for number, row in enumerate(samples):
        flat = row.reshape(-1)
        if depth == 16:
            line = flat.astype(">u2").tobytes()
        elif depth == 8:
            line = flat.astype(np.uint8).tobytes()
        else:
            bits = ((flat[:, None].astype(np.uint8) >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & 1).reshape(-1)
            line = np.packbits(bits).tobytes()
        size = max(1, row.shape[-1] * depth // 8)
        kind = number % 5
        left = bytes(size) + line[:-size] if len(line) > size else bytes(len(line))
        above = before or bytes(len(line))
        corner = bytes(size) + above[:-size] if len(line) > size else bytes(len(line))

        def paeth(a, b, c):
            p = a + b - c
            return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]

        predicted = {0: lambda a, b, c: 0, 1: lambda a, b, c: a, 2: lambda a, b, c: b,
                     3: lambda a, b, c: (a + b) // 2, 4: paeth}[kind]
        out += bytes([kind]) + bytes((v - predicted(a, b, c)) & 255 for v, a, b, c in zip(line, left, above, corner))
        before = line
    return out


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(samples, depth, colour_type, interlaced, extra=b""):
    h, w = samples.shape[:2]
    data = b""
    for x, y, dx, dy in PASSES if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        if part.size:
            data += pack(part, depth)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour_type, 0, 0, interlaced)) +
            extra + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def on_white(rgb, alpha):
    total = rgb.astype(np.int64) * alpha[..., None] + 255 * (255 - alpha[..., None].astype(np.int64))
    return ((2 * total + 255) // 510).astype(np.uint8)


def to8(samples, depth):
    if depth == 16:
        return (samples >> 8).astype(np.uint8)
    return (samples * (255 // ((1 << depth) - 1))).astype(np.uint8)


palette = noise(7, 256 * 3).reshape(256, 3)
palette_alpha = noise(8, 256)
w, h = 21, 19
for depth, colour_type in ((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3),
                           (8, 4), (16, 4), (8, 6), (16, 6)):
    for interlaced in (0, 1):
        for transparent in (0, 1) if colour_type in (0, 2, 3) else (0,):
            channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
            raw = noise(depth * 10 + colour_type, w * h * channels * 2).reshape(h, w, channels, 2).astype(np.uint16)
            samples = (raw[..., 0] << 8 | raw[..., 1]) >> (16 - depth)
            if colour_type & 4:
                samples[3:6, :, -1] = (1 << depth) - 1
                samples[6:8, :, -1] = 0
            extra, alpha, exact = b"", np.full((h, w), 255, np.uint8), True
            if colour_type == 3:
                n = 1 << depth
                extra = chunk(b"PLTE", palette[:n].tobytes())
                rgb = palette[samples[..., 0]]
                if transparent:
                    extra += chunk(b"tRNS", palette_alpha[:n // 2].tobytes())
                    alpha = np.where(samples[..., 0] < n // 2, palette_alpha[samples[..., 0]], 255).astype(np.uint8)
            else:
                eight = to8(samples, depth)
                rgb = eight[..., :3] if channels > 2 else np.repeat(eight[..., :1], 3, -1)
                if colour_type & 4:
                    alpha = eight[..., -1]
                elif transparent:
                    key = samples[4, 4].copy()
                    samples[4, 5:9] = key
                    eight = to8(samples, depth)
                    rgb = eight if channels > 2 else np.repeat(eight, 3, -1)
                    extra = chunk(b"tRNS", b"".join(struct.pack(">H", v) for v in key))
                    alpha = np.where((samples == key).all(-1), 0, 255).astype(np.uint8)
                # Pillow clips 16-bit grey instead of shifting it, and compares a key at 8 bits, whatever the depth.
                exact = not transparent if colour_type else depth < 16 and (depth == 8 or not transparent)
                exact |= depth == 8
            file = png(samples, depth, colour_type, interlaced, extra)
            expected = on_white(rgb, alpha)
            name = f"png type {colour_type} depth {depth}" + " interlaced" * interlaced + " tRNS" * transparent
            add(name, file, expected)
            if exact:
                image = Image.open(io.BytesIO(file))
                white = Image.new("RGB", image.size, "white")
                rgba = image.convert("RGBA")
                white.paste(rgba, mask=rgba.getchannel("A"))
                assert (np.asarray(white) == expected).all(), name
for tiny in ((1, 1), (2, 3), (5, 1), (1, 7)):
    samples = noise(9, tiny[0] * tiny[1] * 3).reshape(tiny[1], tiny[0], 3).astype(np.uint16)
    add(f"png {tiny[0]}x{tiny[1]} interlaced", png(samples, 8, 2, 1), samples.astype(np.uint8))
samples = noise(10, w * h * 3).reshape(h, w, 3).astype(np.uint16)
add("png gamma ignored", png(samples, 8, 2, 0, chunk(b"gAMA", struct.pack(">I", 10000))), samples.astype(np.uint8))
turned = chunk(b"eXIf", little[6:])
assert (add("png orientation", png(samples, 8, 2, 0, turned), np.rot90(samples.astype(np.uint8), -1))
        == np.rot90(samples.astype(np.uint8), -1)).all()

# ---- resizes ----

def half_even(n):
    return round(n / 2)


resizes = []
for width, height, shortest, side, kind in (
        (320, 240, 128, 112, "bilinear"), (320, 240, 128, 112, "bicubic"), (97, 131, 64, 50, "bilinear"),
        (97, 131, 64, 50, "bicubic"), (40, 31, 64, 61, "bilinear"), (40, 31, 64, 61, "bicubic"),
        (33, 33, 33, 33, "bicubic"), (33, 64, 33, 20, "bilinear"), (1, 1, 8, 8, "bicubic"), (3, 200, 6, 16, "bicubic"),
        (200, 3, 6, 16, "bilinear"), (300, 20, 0, 32, "bicubic"), (20, 300, 0, 32, "bilinear"), (64, 48, 20, 32, "bilinear"),
        (51, 40, 25, 31, "bicubic"), (640, 427, 256, 224, "bilinear"), (500, 375, 232, 224, "bicubic"),
        (7, 5, 224, 224, "bicubic"), (341, 256, 256, 224, "bicubic"), (1000, 1, 1, 5, "bilinear")):
    source = noise(width * 65536 + height, width * height * 3).reshape(height, width, 3)
    if shortest == 0:
        size = (side, side)
    elif width < height:
        size = (shortest, int(shortest * height / width))
    else:
        size = (int(shortest * width / height), shortest)
    filter = Image.BICUBIC if kind == "bicubic" else Image.BILINEAR
    # One pass after the other: Pillow 13 goes down before across for some shapes (tall pictures that shrink, among
    # others), where the definition and every Pillow before it go across first. Rounding differs then, by 1 or so.
    resized = np.asarray(Image.fromarray(source).resize((size[0], height), filter).resize(size, filter))
    at_once = np.asarray(Image.fromarray(source).resize(size, filter))
    apart = np.abs(resized.astype(int) - at_once).max()
    if apart:
        print(f"{width} x {height} to {size}, {kind}: at once, Pillow differs by up to {apart}", file=sys.stderr)
    pad = [((side - n) // 2, (side - n + 1) // 2) if n < side else (0, 0) for n in (resized.shape[0], resized.shape[1])]
    resized = np.pad(resized, pad + [(0, 0)])
    top, left = half_even(resized.shape[0] - side), half_even(resized.shape[1] - side)
    resizes.append([width, height, shortest, side, kind, fnv1a(resized[top:top + side, left:left + side].tobytes())])

print("{\"pictures\": [")
print(",\n".join(json.dumps(p) for p in pictures))
print("], \"resizes\": [")
print(",\n".join(json.dumps(r) for r in resizes))
print("]}")
