#!/usr/bin/env python3
"""Makes image_features.json with the frameworks themselves, on seeded weights (pip: torch, torchvision, transformers,
open_clip_torch).

Usage: image_features.py >image_features.json
Computed in f64 on f32 weights and pixels. On standard error: how far the same in f32 is from it (the noise that a
tolerance has to allow), and figures that tell a dead or an exploding network."""
import gzip
import json
import re
import sys
import tempfile

import open_clip
import torch
import torchvision
import transformers
from torch import nn

import seeded

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD)
# As microsoft/resnet-50 has it; transformers resizes the shorter side to size / crop_pct, then crops.
CONVNEXT = {"crop_pct": 0.875, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": IMAGENET[0],
            "image_std": IMAGENET[1], "resample": 3, "size": 224}
# torchvision and CIFAR have no such file; these are ours, in the words of transformers' CLIPImageProcessor.
TORCHVISION = {"do_resize": True, "size": {"shortest_edge": 256}, "resample": 2, "do_center_crop": True,
               "crop_size": {"height": 224, "width": 224}, "do_rescale": True, "do_normalize": True,
               "image_mean": IMAGENET[0], "image_std": IMAGENET[1]}
CIFAR = {**TORCHVISION, "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
MERGES = 510  # of CLIP's byte pairs: with 2 x 256 bytes and two marks a vocabulary of 1,024
TEXTS = ["", "a photo of a magpie", "Brass pocket watch, engraved lid; it's 42 years old!",
         "  the WIND rose over the hills  \n and the shepherd counted 12,345 sheep",
         "caf\u00e9 \u65e5\u672c \U0001f426 don't", "one two three four five six seven " * 20]


class CifarBlock(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.grows = channels != channels_in
        self.border = channels // 4

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.grows:
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.border, self.border))
        return torch.relu(y + x)


class CifarResnet(nn.Module):
    """He et al. 2015, section 4.2, with the names of tensors that akamaster/pytorch_resnet_cifar10 gave them."""

    def __init__(self, depth):
        super().__init__()
        n = (depth - 2) // 6
        assert depth == 6 * n + 2
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for layer, (before, channels) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
            blocks = [CifarBlock(before, channels, 1 if layer == 1 else 2)]
            blocks += [CifarBlock(channels, channels, 1) for _ in range(n - 1)]
            setattr(self, f"layer{layer}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


def text_files(folder):
    """CLIP's tokenizer with its first merges alone: the tokenizer and the files of a model's folder."""
    with gzip.open(open_clip.tokenizer.default_bpe()) as packed:
        lines = packed.read().decode().split("\n")[: 1 + MERGES]
    with gzip.open(folder + "/merges.gz", "wt") as few:
        few.write("\n".join(lines))
    tokenizer = open_clip.SimpleTokenizer(folder + "/merges.gz")
    tokenizer.encoder = {{"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(k, k): v
                         for k, v in tokenizer.encoder.items()}  # the names that the hub's vocab.json has
    return tokenizer, {"vocab.json": tokenizer.encoder, "merges.txt": "\n".join(["#version: 0.2", *lines[1:]]) + "\n"}


def noise(x32, x64):
    return float((x32.double() - x64).abs().max() / x64.abs().max())


def both(model, run):
    """What `run` says in f32 and in f64."""
    with torch.inference_mode():
        x32 = run(model.float(), torch.float32)
        x64 = run(model.double(), torch.float64)
    model.float()
    return x32, x64


def report(name, x32, x64, **more):
    between = torch.nn.functional.normalize(x64, dim=1)
    cosines = (between @ between.T)[~torch.eye(len(x64), dtype=torch.bool)]
    print(f"{name}: f32 from f64 {noise(x32, x64):.2g}; mean {float(x64.mean()):.4g}, std {float(x64.std()):.4g}, "
          f"zeros {float((x64 == 0).double().mean()):.3f}, cosines {float(cosines.min()):.4f} to "
          f"{float(cosines.max()):.4f}", *more.items(), file=sys.stderr, flush=True)


def image_entry(seed, model, run, last, side, mean_std, files, **more):
    lines = seeded.manifest(model.state_dict(), lambda name: re.search(last, name) is not None)
    seeded.fill(model, seed, lines)
    pixels = torch.from_numpy(seeded.images())
    step = 224 // side
    pixels = pixels[:, : side * step : step, : side * step : step]
    x = pixels.permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in mean_std)
    x32, x64 = both(model, lambda m, dtype: run(m, ((x.double() / 255 - mean) / std).to(dtype)))
    report(seed, x32, x64)
    return {"seed": seed, "dimension": x64.shape[1], "input_size": side, **more, "files": files,
            "features": [seeded.digest(v.numpy()) for v in x64], "manifest": lines}


def torchvision_entry(name):
    model = getattr(torchvision.models, name)(weights=None)
    model.fc, head = nn.Identity(), model.fc
    run = lambda m, x: m(x)
    last = r"\.\d+\.bn2$" if name in ("resnet18", "resnet34") else r"\.\d+\.bn3$"
    entry = image_entry(name, model, run, last, 224, IMAGENET,
                        {"config.json": {"model_type": "torchvision-resnet", "architecture": name},
                         "preprocessor_config.json": TORCHVISION},
                        architecture="resnet", layers=int(name[6:]), weights="model.safetensors")
    entry["manifest"] += [f"fc.weight {head.out_features} {head.in_features}", f"fc.bias {head.out_features}"]
    return entry


def transformers_entry(name, layers, model, last):
    """`model` as its folder has it: bare, or below a classifier, when the names of its tensors begin with resnet."""
    bare = lambda m: m if isinstance(m, transformers.ResNetModel) else m.resnet
    run = lambda m, x: bare(m)(x).pooler_output.flatten(1)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["architectures"] = [type(model).__name__]
    entry = image_entry(name, model, run, last, 224, IMAGENET,
                        {"config.json": config, "preprocessor_config.json": CONVNEXT},
                        architecture="resnet", layers=layers, weights="model.safetensors")
    return entry


def cifar_entry(depth):
    return image_entry(f"cifar-resnet{depth}", CifarResnet(depth), lambda m, x: m(x), r"\.\d+\.bn2$", 32, IMAGENET,
                       {"config.json": {"model_type": "cifar-resnet", "depth": depth},
                        "preprocessor_config.json": CIFAR},
                       architecture="cifar-resnet", layers=depth, weights="model.safetensors")


def clip_entry(name, base, vision, text, tokenizer, tokenizer_files, **more):
    """open_clip's model `base` with these changes: the vocabulary and most layers of text would only add weights."""
    config = open_clip.get_model_config(base)
    config["vision_cfg"].update(vision)
    config["text_cfg"].update(text, vocab_size=1024)
    side = config["vision_cfg"]["image_size"]
    cut = {k: v for k, v in config.items() if k != "embed_dim"}
    model = open_clip.model.CLIP(embed_dim=config["embed_dim"], **json.loads(json.dumps(cut))).eval()
    preprocess = {"mean": CLIP[0], "std": CLIP[1], "interpolation": "bicubic", "resize_mode": "shortest"}
    entry = image_entry(name, model, lambda m, x: m.encode_image(x), r"\.\d+\.bn3$", side, CLIP,
                        {"open_clip_config.json": {"model_cfg": config, "preprocess_cfg": preprocess},
                         **tokenizer_files},
                        architecture="clip-resnet", weights="open_clip_model.safetensors", **more)
    ids = tokenizer(TEXTS)
    x32, x64 = both(model, lambda m, dtype: m.encode_text(ids))
    report(name + " text", x32, x64)
    entry["texts"] = [{"text": text, "ids": row[: int(row.argmax()) + 1].tolist(), **vector}
                      for text, row, vector in zip(TEXTS, ids, [seeded.digest(v.numpy()) for v in x64])]
    return entry


def main():
    torch.manual_seed(0)
    basic = transformers.ResNetConfig(layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512])
    deep = transformers.ResNetConfig(num_labels=2)
    models = {f"resnet{n}": lambda n=n: torchvision_entry(f"resnet{n}") for n in (18, 34, 50, 101, 152)}
    models["hf-resnet-18"] = lambda: transformers_entry(
        "hf-resnet-18", 18, transformers.ResNetModel(basic), r"\.layer\.1\.normalization$")
    models["hf-resnet-50"] = lambda: transformers_entry(
        "hf-resnet-50", 50, transformers.ResNetForImageClassification(deep), r"\.layer\.2\.normalization$")
    for depth in (20, 32, 44, 56):
        models[f"cifar-resnet{depth}"] = lambda depth=depth: cifar_entry(depth)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, files = text_files(folder)
    clip = lambda *a, **more: lambda: clip_entry(*a, tokenizer, files, **more)
    small = {"layers": [1, 2, 1, 1], "width": 16, "image_size": 64}
    models["clip-small"] = clip("clip-small", "RN50-quickgelu", small, {"layers": 2, "width": 128, "heads": 2})
    models["clip-RN50"] = clip("clip-RN50", "RN50-quickgelu", {}, {"layers": 4}, layers=50)
    models["clip-RN101"] = clip("clip-RN101", "RN101-quickgelu", {}, {"layers": 2}, layers=101)
    for i, (name, make) in enumerate(models.items()):
        entry = make()
        print("{" if i == 0 else ",", f'"{name}": {{')
        print(",\n".join(f'  "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in entry.items()), "}", end="")
    print("}")


main()
