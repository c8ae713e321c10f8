#!/usr/bin/env python3
"""Makes musicnn.json: the tags and vectors of musicnn's VGG for two sounds of seeded.py (pip: torch, librosa,
safetensors).

Usage: musicnn.py MODEL_DIR >musicnn.json     # MODEL_DIR: what scripts/fetch-audio-model prints
The network is written here after musicnn/models.py, with PyTorch in f64 on the converted weights; the spectrogram is
librosa's in f64. On standard error: the tags in words, how far f32 is from f64, and what the package's own rounding of
the spectrogram to float16 does."""
import hashlib
import json
import sys

import librosa
import numpy
import torch
from safetensors.torch import load_file
from torch.nn import functional

import seeded

RATE = 16000
SOUNDS = {"pluck": 116800, "drums": 64000}  # 7.3 s, two windows and a bit; 4 s, one
FRAMES, BANDS, EPSILON = 187, 96, 1e-3
POOLS = [((4, 1), 2), (2, 2), (2, 2), (2, 2), (4, 4)]  # kernel (time, frequency) and stride


def network(weights, x):
    """Spectrograms [windows, FRAMES, BANDS] to vectors [windows, 2 filters] and probabilities [windows, tags]."""
    w = {name: tensor.to(x.dtype) for name, tensor in weights.items()}

    def norm(x, name):
        mean, var, gain, shift = (w[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, gain, shift, eps=EPSILON)

    x = norm(x[:, None], "input_norm")
    for n, (kernel, stride) in enumerate(POOLS, 1):
        x = torch.relu(functional.conv2d(x, w[f"conv{n}.weight"], w[f"conv{n}.bias"], padding=1))
        x = functional.max_pool2d(norm(x, f"norm{n}"), kernel, stride)
    vectors = x.permute(0, 2, 3, 1).flatten(1)  # time, frequency, channel: as TensorFlow flattens
    return vectors, torch.sigmoid(functional.linear(vectors, w["output.weight"], w["output.bias"]))


def spectrogram(samples, dtype):
    return librosa.feature.melspectrogram(y=samples.astype(dtype), sr=RATE, n_fft=512, hop_length=256, n_mels=BANDS,
                                          dtype=dtype).T


def rounded_spectrogram(samples):
    """As musicnn/extractor.py has it: in float16 from the mel bands on."""
    with numpy.errstate(over="ignore"):
        return numpy.log10(numpy.float16(10000) * spectrogram(samples, numpy.float32).astype(numpy.float16) +
                           numpy.float16(1))


def hear(weights, spectrum, dtype=torch.float64):
    """The means over whole windows: vector, tags."""
    n = len(spectrum) // FRAMES
    windows = spectrum[: n * FRAMES].reshape(n, FRAMES, BANDS)
    with torch.inference_mode():
        vectors, tags = network(weights, torch.from_numpy(windows).to(dtype))
    return n, vectors.mean(0).double(), tags.mean(0).double()


def report(name, weights, samples, labels, vector, tags):
    largest = tags.argsort(descending=True)[:6]
    print(f"{name}:", ", ".join(f"{labels[i]} {tags[i]:.3f}" for i in largest), file=sys.stderr)
    spectrum = numpy.log10(10000 * spectrogram(samples, numpy.float32) + 1)
    _, vector32, tags32 = hear(weights, spectrum, torch.float32)
    print(f"  f32 throughout: tags off by {(tags32 - tags).abs().max():.2g}, "
          f"vector by {(vector32 - vector).abs().max() / vector.abs().max():.2g} of its largest", file=sys.stderr)
    for gain in (1, 1 / numpy.abs(samples).max()):
        spectrum = rounded_spectrogram(samples * gain)
        _, _, exact = hear(weights, numpy.log10(10000 * spectrogram(samples * gain, numpy.float64) + 1))
        _, _, tags16 = hear(weights, spectrum)
        infinite = int(numpy.isinf(spectrum).sum())
        print(f"  float16 spectrogram, times {gain:.3g}: {infinite} of {spectrum.size} infinite, "
              f"tags off by {(tags16 - exact).abs().max():.2g}", file=sys.stderr)


def main():
    weights = load_file(sys.argv[1] + "/model.safetensors")
    with open(sys.argv[1] + "/config.json") as file:
        labels = list(json.load(file)["id2label"].values())
    sounds = []
    for name, count in SOUNDS.items():
        whole = seeded.sound(name, count)
        samples = whole / 32768
        windows, vector, tags = hear(weights, numpy.log10(10000 * spectrogram(samples, numpy.float64) + 1))
        report(name, weights, samples, labels, vector, tags)
        sounds.append({"name": name, "samples": count, "sha256": hashlib.sha256(whole.tobytes()).hexdigest(),
                       "fnv1a64": seeded.hash_of(whole), "windows": windows,
                       "tags": seeded.rounded(tags.tolist()), "vector": seeded.digest(vector.numpy())})
    with open(sys.argv[1] + "/model.safetensors", "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    print(f'{{ "weights": "{digest}",\n  "labels": {json.dumps(labels)},\n  "sounds": [')
    print(",\n".join("    " + json.dumps(sound) for sound in sounds), "] }")


if __name__ == "__main__":
    main()
