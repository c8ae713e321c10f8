#!/usr/bin/env python3
"""Makes audio_features.json with the frameworks themselves, on seeded weights (pip: torch, torchaudio, torchvision,
transformers, safetensors, librosa).

Usage: audio_features.py >audio_features.json
Spectrograms and networks in f64, on f32 weights. On standard error: how far the same networks in f32 and in bf16 are
from it (the noise that a tolerance has to allow), and figures that tell a dead or an exploding network."""
import copy
import json
import re
import sys
import tempfile

import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import musicnn
import seeded
import spectrograms

WAV2CLIP = {**spectrograms.WAV2CLIP, "frames": 160}
SMALL = {**spectrograms.HTK, "normalize": "fixed", "mean": -6, "std": 5, "frames": 101, "padding": "constant",
         "padding_value": -20}
MUSICNN = {**spectrograms.MUSICNN, "frames": musicnn.FRAMES}
TAGS = ["guitar", "no vocals", "harp", "loud", "quiet"]


class AudioResnet(nn.Module):
    """Wav2CLIP's (Wu et al. 2021): torchvision's ResNet-18 over one channel, as high as there are bands and as wide as
    there are frames, and a perceptron. The names are its checkpoint's: every third member of `sequential` is a linear
    layer (ReLU and dropout are between). `classes`: of the classifier that the checkpoint also has, and nothing uses."""

    def __init__(self, projection, classes):
        super().__init__()
        self.audio_encoder = torchvision.models.resnet18(num_classes=classes or 1)
        self.audio_encoder.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        if not classes:
            self.audio_encoder.fc = nn.Identity()
        layers = []
        for before, size in zip([512, *projection], projection):
            layers += [nn.Linear(before, size), nn.ReLU(), nn.Identity()]
        self.audio_transform = nn.Module()
        self.audio_transform.sequential = nn.Sequential(*layers[:-2])

    def forward(self, x):
        """x [windows, frames, bands]"""
        x = x.transpose(1, 2)[:, None]
        for layer in list(self.audio_encoder.children())[:-1]:  # without the classifier
            x = layer(x)
        return self.audio_transform.sequential(x.flatten(1))


def resnet(seed, projection, classes):
    model = AudioResnet(projection, classes)
    lines = seeded.manifest(model.state_dict(), lambda name: re.search(r"\.\d+\.bn2$", name) is not None)
    return seeded.fill(model, seed, lines), lines


class Musicnn(nn.Module):
    """The network of musicnn.py, which takes its weights by name, with few filters."""

    def __init__(self, filters, tags):
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1)
        for n in range(1, 6):
            setattr(self, f"conv{n}", nn.Conv2d(filters if n > 1 else 1, filters, 3))
            setattr(self, f"norm{n}", nn.BatchNorm2d(filters))
        self.output = nn.Linear(2 * filters, tags)

    def forward(self, x):
        return musicnn.network(self.state_dict(), x)


def ast(seed, model):
    """transformers' model with seeded weights under the names that it saves and loads, which are the hub's."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        weights = folder + "/model.safetensors"
        lines = [" ".join([name, *map(str, t.shape)]) for name, t in sorted(load_file(weights).items())]
        save_file({name: torch.from_numpy(seeded.values(seed, name, shape, last))
                   for name, shape, last in seeded.expand(lines)}, weights, {"format": "pt"})
        model, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval(), lines


def windows(library, config, wave):
    """What the network hears of a sound: [windows, frames, bands]."""
    x, frames = spectrograms.spectrogram(library, config, wave), config["frames"]
    if len(x) >= frames:
        x = x[: len(x) // frames * frames]
    elif config["padding"] == "repeat":
        x = x[torch.arange(frames) % len(x)]
    else:
        x = nn.functional.pad(x, (0, 0, 0, frames - len(x)), value=config["padding_value"])
    return torch.stack([spectrograms.normalised(config, w) for w in x.split(frames)])


def sounds(config):
    """A window to the sample, two and a half, a third: (sound, samples)."""
    frames, hop = config["frames"], config["hop_length"]
    first = 1 if config["center"] else config["win_length"]
    samples = lambda n: first + (n - 1) * hop
    return [("pluck", samples(frames)), ("drums", samples(frames * 5 // 2) + hop // 2),
            ("noise", samples(frames // 3) + hop // 3)]


def features(seed, model, run, library, config):
    inputs = [windows(library, config, seeded.sound(sound, count) / 32768) for sound, count in sounds(config)]
    assert [len(x) for x in inputs] == [1, 2, 1]
    outputs = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        cast = copy.deepcopy(model).to(dtype)  # a copy, since bf16 would round the model's weights for good
        with torch.inference_mode():
            outputs[dtype] = torch.stack([run(cast, x.to(dtype)).double().mean(0) for x in inputs])
    x64, x32, x16 = outputs.values()
    between = nn.functional.normalize(x64, dim=1)
    print(f"{seed}: f32 from f64 {float((x32 - x64).abs().max() / x64.abs().max()):.2g}, "
          f"bf16's cosine {float(nn.functional.cosine_similarity(x16, x64).min()):.5f}; input std "
          f"{', '.join(f'{float(x.std()):.3g}' for x in inputs)}; mean {float(x64.mean()):.4g}, "
          f"std {float(x64.std()):.4g}, cosines {float((between @ between.T).min()):.4f}", file=sys.stderr, flush=True)
    return [{"sound": sound, "samples": count, **seeded.digest(v.numpy())}
            for (sound, count), v in zip(sounds(config), x64)]


def entry(seed, model, lines, run, library, config, files, architecture, layers):
    found = features(seed, model, run, library, config)
    dimension = run(model, torch.zeros(1, config["frames"], config["n_mels"] or config["n_fft"] // 2 + 1)).shape[1]
    return {"seed": seed, "architecture": architecture, "layers": layers, "dimension": dimension,
            "sample_rate": config["sampling_rate"], "bands": config["n_mels"] or config["n_fft"] // 2 + 1,
            "frames": config["frames"], "weights": "model.safetensors", "files": files, "features": found,
            "manifest": lines}


def resnet_entry(seed, projection, classes, config):
    model, lines = resnet(seed, projection, classes)
    files = {"config.json": {"model_type": "audio-resnet", "depth": 18, "projection": projection},
             "preprocessor_config.json": config}
    return entry(seed, model, lines, lambda m, x: m(x), "torchaudio", config, files, "audio-resnet", 18)


def musicnn_entry(seed, filters):
    model = Musicnn(filters, len(TAGS))
    lines = seeded.manifest(model.state_dict(), lambda name: False)
    seeded.fill(model, seed, lines)
    files = {"config.json": {"model_type": "musicnn-vgg", "num_filters": filters, "batch_norm_eps": musicnn.EPSILON,
                             "id2label": {str(i): tag for i, tag in enumerate(TAGS)}},
             "preprocessor_config.json": MUSICNN}
    made = entry(seed, model, lines, lambda m, x: m(x)[0], "librosa", MUSICNN, files, "musicnn-vgg", 6)
    for sound in made["features"]:
        x = windows("librosa", MUSICNN, seeded.sound(sound["sound"], sound["samples"]) / 32768)
        with torch.inference_mode():
            sound["tags"] = seeded.rounded(copy.deepcopy(model).double()(x)[1].mean(0).tolist())
    return made


def ast_entry(seed, kind, **sizes):
    config = transformers.ASTConfig(**sizes)
    extractor = transformers.ASTFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
    model, lines = ast(seed, kind(config))
    run = lambda m, x: getattr(m, "audio_spectrogram_transformer", m)(x).pooler_output
    kaldi = {**spectrograms.KALDI, "n_mels": config.num_mel_bins, "frames": config.max_length}
    files = {"config.json": model.config.to_diff_dict(), "preprocessor_config.json": extractor.to_dict()}
    check_extractor(extractor, kaldi)
    return entry(seed, model, lines, run, "torchaudio's kaldi", kaldi, files, "ast", config.num_hidden_layers)


def check_extractor(extractor, kaldi):
    """That what is fed is what transformers would feed, but for f32."""
    for sound, count in sounds(kaldi):
        wave = seeded.sound(sound, count) / 32768
        theirs = extractor(wave.astype("float32"), sampling_rate=16000, return_tensors="pt")["input_values"]
        assert (theirs[0] - windows("torchaudio's kaldi", kaldi, wave)[0]).abs().max() < 2e-4


def main():
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128,
             "max_length": 128, "num_mel_bins": 64}
    model, classifier = transformers.ASTModel, transformers.ASTForAudioClassification
    entries = {
        "wav2clip": lambda n: resnet_entry(n, [512, 512], 309, WAV2CLIP),
        "audio-resnet-small": lambda n: resnet_entry(n, [128], None, SMALL),
        "musicnn-small": lambda n: musicnn_entry(n, 16),
        "ast-small": lambda n: ast_entry(n, model, **small),
        "ast-classifier": lambda n: ast_entry(n, classifier, **small, num_labels=2),
        "ast": lambda n: ast_entry(n, model, num_hidden_layers=2)}
    for i, (name, make) in enumerate(entries.items()):
        print("{" if i == 0 else ",", f'"{name}": {{')
        lines = [f'  "{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in make(name).items()]
        print(",\n".join(lines), "}", end="")
    print("}")


main()
