#!/usr/bin/env python3
"""Writes the trained encoders as model folders: export.py FOLDER

FOLDER/image in Hugging Face's layout of a ResNet, FOLDER/audio as encoders/audio_resnet.c reads it. Filters are
float16, the figures of batch norm float32."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import image
import sound


def hugging_face(name):
    """torchvision's name of a tensor to Hugging Face's."""
    part, kind = name.rsplit(".", 1)
    layer = {"conv": "convolution", "bn": "normalization"}
    steps = part.split(".")
    if steps[0] in ("conv1", "bn1"):
        return f"embedder.embedder.{layer[steps[0][:-1]]}.{kind}"
    place = f"encoder.stages.{int(steps[0][5:]) - 1}.layers.{steps[1]}"
    if steps[2] == "downsample":
        return f"{place}.shortcut.{'convolution' if steps[3] == '0' else 'normalization'}.{kind}"
    return f"{place}.layer.{int(steps[2][-1]) - 1}.{layer[steps[2][:-1]]}.{kind}"


def tensors(state, rename=lambda name: name):
    out = {}
    for name, value in state["average"].items():
        if name.startswith("encoder.") and not name.endswith("num_batches_tracked"):
            half = value.ndim > 1
            out[rename(name.removeprefix("encoder."))] = value.to(torch.float16 if half else torch.float32).contiguous()
    return out


def write(folder, config, preprocessor, weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    folder = Path(sys.argv[1])
    config = {"model_type": "resnet", "architectures": ["ResNetModel"], "layer_type": "basic", "hidden_act": "relu",
              "num_channels": 3, "embedding_size": image.WIDTHS[0], "depths": [2, 2, 2, 2],
              "hidden_sizes": image.WIDTHS}
    side = image.SIZES[-1][1]
    preprocessor = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "do_center_crop": False,
                    "size": {"height": side, "width": side}, "resample": 2, "do_rescale": True,
                    "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": image.MEAN,
                    "image_std": image.STD}
    write(folder / "image", config, preprocessor,
          tensors(torch.load(image.STATE, weights_only=False), hugging_face))
    config = {"model_type": "audio-resnet", "depth": 18, "hidden_sizes": sound.WIDTHS}
    preprocessor = {"feature_extractor_type": "MagpieSpectrogram", "sampling_rate": 16000, "n_fft": sound.N_FFT,
                    "win_length": sound.WINDOW, "hop_length": sound.HOP, "window": "hann", "center": False,
                    "power": 2, "n_mels": sound.MELS, "f_min": sound.LOW, "f_max": sound.HIGH, "mel_scale": "htk",
                    "norm": None, "log": "ln", "log_scale": 1, "log_offset": sound.OFFSET, "log_floor": sound.OFFSET,
                    "frames": sound.FRAMES, "padding": "constant", "padding_value": -6.907755278982137,
                    "normalize": "window"}
    write(folder / "audio", config, preprocessor, tensors(torch.load(sound.STATE, weights_only=False)))


if __name__ == "__main__":
    main()
