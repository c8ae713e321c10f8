#!/usr/bin/env python3
"""Values of the starter encoders, as the code that trained them computes them, in f64: see README.md here.

    python starter_features.py >starter_features.json

Wants starter/train's Python. The picture encoder is read by transformers, as anybody's ResNet would be."""
import json
import math
import sys
from pathlib import Path

import numpy
import torch
import transformers
from safetensors.torch import load_file

import seeded

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "starter/train"))
import image
import networks
import sound


def pictures():
    """The corners of the seeded pictures, as the network takes them."""
    side = image.SIZES[-1][1]
    x = torch.from_numpy(seeded.images()[:, :side, :side].copy()).permute(0, 3, 1, 2).double()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (image.MEAN, image.STD))
    model = transformers.ResNetModel.from_pretrained(root / "starter/image", dtype=torch.float64).eval()
    with torch.inference_mode():
        return model((x / 255 - mean) / std).pooler_output.flatten(1)


def sounds():
    weights = load_file(root / "starter/audio/model.safetensors")
    model = networks.ResNet18(1, sound.WIDTHS)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    model, spectrogram = model.double().eval(), sound.Spectrogram().double()
    for name, count in (("pluck", sound.SAMPLES), ("drums", sound.SAMPLES // 3)):
        with torch.inference_mode():
            y = spectrogram.log_mel(torch.from_numpy(seeded.sound(name, count) / 32768)[None])
            y = torch.nn.functional.pad(y, (0, sound.FRAMES - y.shape[2]), value=math.log(sound.OFFSET))
            yield name, count, model(sound.normalised(y))[0]


def main():
    transformers.logging.set_verbosity_error()
    out = {"image": [seeded.digest(v.numpy()) for v in pictures()],
           "audio": [{"sound": name, "samples": count, **seeded.digest(v.numpy())} for name, count, v in sounds()]}
    print(json.dumps(out, separators=(",", ":")))


main()
