"""Weights, pictures and signs out of names alone, so that tests in C can make the same: see README.md here.

Used by image_features.py. tests/seeded_model.h is the same in C."""
import numpy

MASK = (1 << 64) - 1
BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
# Four times as large as others: else attention would be all but uniform over the places of a picture.
LOUD = ("q_proj.weight", "k_proj.weight", "positional_embedding")


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
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
        bound = numpy.sqrt(6.0 / (count // shape[0]))
        v = (2 * u - 1) * (4 * bound if name.endswith(LOUD) else bound)
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
