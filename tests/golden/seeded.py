"""Weights, pictures, sounds and signs out of names alone, so that tests in C can make the same: see README.md here.

tests/seeded_model.h and tests/seeded_sounds.h are the same in C."""
import numpy

MASK = (1 << 64) - 1
BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
# As many times as large as others: else attention would be all but uniform over the places of a picture. AST's inputs
# are of unit size; four times would be one place alone, and what bf16 does to it no more than luck.
LOUD = {"q_proj.weight": 4, "k_proj.weight": 4, "positional_embedding": 4, "query.weight": 2, "key.weight": 2}
# Up to 1: AST adds them to patches of about that size, and their first dimension is no count of inputs.
UNIT = ("cls_token", "distillation_token", "position_embeddings")


def fnv1a64(text):
    """Of a name, or of bytes."""
    value = 0xCBF29CE484222325
    for byte in text.encode() if isinstance(text, str) else text:
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def stream(name, count):
    """The first `count` numbers of splitmix64 whose state begins as the hash of `name`."""
    with numpy.errstate(over="ignore"):
        z = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z += numpy.uint64(fnv1a64(name))
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def values(seed, name, shape, last):
    """f32 values of one tensor. `last`: it belongs to the last batch norm of a residual block."""
    count = int(numpy.prod(shape, dtype=numpy.int64))
    u = (stream(f"{seed}.{name}", count) >> numpy.uint64(40)).astype(numpy.float64) / (1 << 24)
    if len(shape) >= 2:
        bound = 1.0 if name.endswith(UNIT) else numpy.sqrt(6.0 / (count // shape[0]))
        v = (2 * u - 1) * (bound * next((times for end, times in LOUD.items() if name.endswith(end)), 1))
    elif name.endswith("running_var"):
        v = 0.5 + u
    elif name.endswith("running_mean") or name.endswith("bias"):
        v = 0.2 * u - 0.1
    else:
        v = 0.1 + 0.2 * u if last else 0.5 + 0.5 * u
    return v.astype(numpy.float32).reshape(shape)


def manifest(state, is_last):
    """The tensors of a state dict as lines: "NAME 64 3 7 7", and for the five tensors of a batch norm "NAME.* 64",
    with " last" where is_last(NAME)."""
    lines = []
    norms = {name[: -len(".running_var")] for name in state if name.endswith(".running_var")}
    for name, tensor in state.items():
        parent, _, field = name.rpartition(".")
        if parent not in norms:
            lines.append(" ".join([name, *map(str, tensor.shape)]))
        elif field == "weight":
            lines.append(f"{parent}.* {tensor.shape[0]}" + (" last" if is_last(parent) else ""))
    return lines


def expand(lines):
    """(name, shape, last) of every tensor of f32 that a manifest stands for."""
    for line in lines:
        name, *shape = line.split()
        last = shape[-1:] == ["last"]
        shape = tuple(map(int, shape[: len(shape) - last]))
        if name.endswith(".*"):
            for field in BATCH_NORM[:-1]:
                yield name[:-1] + field, shape, last
        else:
            yield name, shape, last


def fill(model, seed, lines):
    """Seeded weights for every tensor of a torch module, which must be those of the manifest."""
    import torch

    state = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    with torch.no_grad():
        for name, shape, last in expand(lines):
            state.pop(name).copy_(torch.from_numpy(values(seed, name, shape, last)))
    assert not state, state.keys()
    return model.eval()


def images():
    """Four pictures, uint8 [4, 224, 224, 3]: ramps, exclusive or, noise, a noisy chequerboard."""
    y, x = numpy.mgrid[0:224, 0:224]
    c = numpy.arange(3)[None, None]
    wide, high = x[..., None], y[..., None]
    noise = lambda name, shift: (stream(name, 224 * 224 * 3) >> numpy.uint64(shift)).astype(numpy.int64)
    ramps = numpy.stack([x * 255 // 223, y * 255 // 223, (x + y) * 255 // 446], -1)
    xor = ((wide ^ high) * (c + 1)) & 255
    odd = ((wide // 16 + high // 16) & 1) == 1
    board = numpy.where(odd, 200 - 40 * c, 30 + 50 * c) + noise("image3", 60).reshape(224, 224, 3)
    return numpy.stack([ramps, xor, noise("image2", 56).reshape(224, 224, 3), board]).astype(numpy.uint8)


def sums(vector):
    """32 sums over a vector with seeded signs: sum k takes element j negative where bit k of number j is set."""
    bits = stream("signs", len(vector))[:, None] >> numpy.arange(32, dtype=numpy.uint64) & numpy.uint64(1)
    return (vector[:, None] * (1.0 - 2.0 * bits)).sum(0)


def rounded(numbers):
    return [float(f"{x:.7g}") for x in numbers]


def digest(vector):
    """What a file of golden values holds of a vector (numpy, f64)."""
    norm, = rounded([numpy.linalg.norm(vector)])
    return {"norm": norm, "first": rounded(vector[:64]), "sums": rounded(sums(vector))}


# ---- sounds ----

MELODY = (22000, 26163, 32963, 44000, 39200, 32963, 26163, 32963,
          17461, 22000, 26163, 34923, 32963, 26163, 22000, 26163)  # 0.01 Hz
NOTE, BEAT = 3200, 8000  # samples, 0.2 and 0.5 s at the 16 kHz that frequencies here are meant for


def fade(level, n, half):
    """What is left of `level` after n samples: half of it after each `half`, straight lines between."""
    level = level >> numpy.minimum(n // half, 40)
    return level - level * (n % half) // (2 * half)


def triangle(n, frequency, level):
    """A triangular wave of 0.01 Hz at sample n, from -level up to almost level."""
    phase = n * frequency * 65536 // 1600000 & 65535
    return (numpy.where(phase < 32768, phase, 65535 - phase) * level >> 14) - level


def square(n, frequency, level):
    return numpy.where(n * 2 * frequency // 1600000 & 1, -level, level)


def white(name, count):
    """Numbers of 16 bits."""
    return (stream(name, count) >> numpy.uint64(48)).astype(numpy.int64)


def pluck(i):
    """A string plucked anew at every note, the last four ringing on: a triangle, two squares that die away sooner."""
    x = numpy.zeros_like(i)
    for back in range(4):
        note = i // NOTE - back
        n, frequency = i - note * NOTE, numpy.array(MELODY)[note % len(MELODY)]
        ringing = triangle(n, frequency, fade(numpy.full_like(i, 2000), n, NOTE))
        ringing += square(n, 2 * frequency, fade(numpy.full_like(i, 500), n, NOTE // 2))
        ringing += square(n, 3 * frequency, fade(numpy.full_like(i, 250), n, NOTE // 4))
        x += numpy.where(note >= 0, ringing, 0)
    return x


def drums(i):
    """A low drum on every beat, a snare on every second, a cymbal on every half."""
    n = i % BEAT
    level = fade(numpy.full_like(i, 1200), i % (BEAT // 2), 200)
    level += numpy.where(i // BEAT % 2 == 1, fade(numpy.full_like(i, 4000), n, 900), 0)
    return (white("drums", len(i)) * level >> 15) - level + triangle(n, 5500, fade(numpy.full_like(i, 6000), n, 1400))


SOUNDS = {"pluck": pluck, "drums": drums, "noise": lambda i: white("noise", len(i)) - 32768,
          "click": lambda i: numpy.where(i % 4001 == 37, 16384, 0)}


def sound(name, count):
    """The first `count` samples, int16: "pluck", "drums", "noise" (white, as loud as can be) or "click" (silence but
    for sample 37 and every 4,001st after it)."""
    return SOUNDS[name](numpy.arange(count, dtype=numpy.int64)).astype("<i2")


def hash_of(sound):
    return f"{fnv1a64(sound.tobytes()):016x}"
