#!/usr/bin/env python3
"""Makes spectrograms.json: what the libraries make of short sounds of seeded.py, by many definitions (pip: torch,
torchaudio, librosa, transformers).

Usage: spectrograms.py >spectrograms.json
In f64, and in f32 for the noise that a tolerance has to allow. On standard error: how far apart the two ways are in
which transformers' ASTFeatureExtractor can compute (torchaudio, or numpy where that is missing)."""
import contextlib
import json
import sys
import warnings

import librosa
import numpy
import torch
import transformers

import seeded

torch.version.cuda = None  # a torchaudio of another CUDA than torch's refuses to load, and none is used here
import torchaudio  # noqa: E402
import torchaudio.compliance.kaldi  # noqa: E402

AST = transformers.models.audio_spectrogram_transformer.feature_extraction_audio_spectrogram_transformer

HTK = {"feature_extractor_type": "MagpieSpectrogram", "sampling_rate": 16000, "n_fft": 512, "win_length": 400,
       "hop_length": 160, "window": "hann", "center": True, "pad_mode": "reflect", "power": 2, "n_mels": 64,
       "f_min": 0, "f_max": 8000, "mel_scale": "htk", "norm": None, "preemphasis": 0, "remove_dc_offset": False, "log": "ln",
       "log_scale": 1, "log_offset": 0, "log_floor": 1e-10, "normalize": "none", "padding": "repeat",
       "padding_value": 0}
SLANEY = {**HTK, "pad_mode": "constant", "mel_scale": "slaney", "norm": "slaney"}
WAV2CLIP = {**HTK, "sampling_rate": 44100, "win_length": 512, "hop_length": 353, "n_mels": 0, "f_max": 22050,
            "log_offset": 1e-7, "log_floor": 0, "normalize": "window"}
MUSICNN = {**SLANEY, "win_length": 512, "hop_length": 256, "n_mels": 96, "log": "log10", "log_scale": 10000,
           "log_offset": 1, "log_floor": 0}
KALDI = {**HTK, "window": "hann_symmetric", "center": False, "n_mels": 128, "f_min": 20, "mel_scale": "kaldi",
         "preemphasis": 0.97, "remove_dc_offset": True, "log_floor": 1.1920928955078125e-07, "normalize": "fixed",
         "mean": -4.2677393, "std": 2 * 4.5689974, "padding": "constant"}
DEFINITIONS = {  # name: library, configuration
    "htk": ("torchaudio", HTK),
    "htk n_fft 400": ("torchaudio", {**HTK, "n_fft": 400}),
    "htk, area norm": ("torchaudio", {**HTK, "norm": "slaney"}),
    "htk, magnitude": ("torchaudio", {**HTK, "power": 1}),
    "htk, dB of power": ("torchaudio", {**HTK, "log": "db"}),
    "htk, dB of magnitude": ("torchaudio", {**HTK, "power": 1, "log": "db"}),
    "htk, no logarithm": ("torchaudio", {**HTK, "log": "none"}),
    "htk, narrow": ("torchaudio", {**HTK, "f_min": 125, "f_max": 7500, "n_mels": 40}),
    "htk, fixed": ("torchaudio", {**HTK, "normalize": "fixed", "mean": -5.5, "std": 4.25}),
    "htk, not centred": ("torchaudio", {**HTK, "n_fft": 400, "center": False}),
    "wav2clip": ("torchaudio", WAV2CLIP),
    "slaney": ("librosa", SLANEY),
    "slaney, no norm": ("librosa", {**SLANEY, "norm": None}),
    "musicnn": ("librosa", MUSICNN),
    "whisper": ("librosa", {**SLANEY, "n_fft": 400, "pad_mode": "reflect", "n_mels": 80, "log": "log10"}),
    "ast": ("torchaudio's kaldi", KALDI),
    "kaldi, magnitude": ("torchaudio's kaldi", {**KALDI, "power": 1, "n_mels": 23, "preemphasis": 0,
                                                "remove_dc_offset": False, "normalize": "none"}),
}
EVERY = 7  # frames of the longer sounds, of which one is kept
LONG, HASHED = 6400, 500000  # samples: of a case, and of each sound for its hash
# (definition, sound, samples, one frame of how many); a library that will not reflect so little is not asked to.
CASES = [(name, sound, LONG, EVERY) for name in DEFINITIONS for sound in ("drums", "noise")]
CASES += [(name, sound, 1280, 1) for name in ("htk", "musicnn", "ast") for sound in ("pluck", "click")]
CASES += [("htk", "noise", 257, 1), ("ast", "noise", 400, 1), ("ast", "noise", 559, 1), ("wav2clip", "pluck", 700, 1)]
CASES += [(name, "noise", samples, 1) for name in ("slaney", "musicnn") for samples in (100, 1)]


def by_torchaudio(c, x):
    frames = {"n_fft": c["n_fft"], "win_length": c["win_length"], "hop_length": c["hop_length"],
              "center": c["center"], "pad_mode": c["pad_mode"], "power": c["power"]}
    if c["n_mels"] == 0:
        return torchaudio.transforms.Spectrogram(**frames)(x).T
    return torchaudio.transforms.MelSpectrogram(c["sampling_rate"], n_mels=c["n_mels"], f_min=c["f_min"],
                                                f_max=c["f_max"], norm=c["norm"], mel_scale=c["mel_scale"],
                                                **frames)(x).T


def by_librosa(c, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that n_fft is larger than the sound
        return torch.from_numpy(librosa.feature.melspectrogram(
            y=x.numpy(), sr=c["sampling_rate"], n_fft=c["n_fft"], win_length=c["win_length"],
            hop_length=c["hop_length"], center=c["center"], pad_mode=c["pad_mode"], power=c["power"],
            n_mels=c["n_mels"], fmin=c["f_min"], fmax=c["f_max"], htk=c["mel_scale"] == "htk", norm=c["norm"],
            dtype=x.numpy().dtype).T)


def by_kaldi(c, x):
    """In front of the logarithm, which kaldi would take itself with the same floor."""
    assert c["sampling_rate"] == 16000 and (c["win_length"], c["hop_length"], c["n_fft"]) == (400, 160, 512)
    return torchaudio.compliance.kaldi.fbank(
        x[None], sample_frequency=16000, window_type="hanning", num_mel_bins=c["n_mels"], low_freq=c["f_min"],
        high_freq=c["f_max"], preemphasis_coefficient=c["preemphasis"], remove_dc_offset=c["remove_dc_offset"],
        use_power=c["power"] == 2, use_log_fbank=False)


LIBRARIES = {"torchaudio": by_torchaudio, "librosa": by_librosa, "torchaudio's kaldi": by_kaldi}


def logarithm(c, x):
    if c["log"] == "none":
        return x
    y = torch.log((c["log_scale"] * x + c["log_offset"]).clamp_min(c["log_floor"]))
    if c["log"] == "ln":
        return y
    return y / numpy.log(10) * {"log10": 1, "db": 20 / c["power"]}[c["log"]]


def normalised(c, x):
    if c["normalize"] == "fixed":
        return (x - c["mean"]) / c["std"]
    return (x - x.mean()) / (x.std() + 1e-9) if c["normalize"] == "window" else x


@contextlib.contextmanager
def precision(dtype):
    """Windows and filters of torchaudio are of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def spectrogram(library, c, samples, dtype=torch.float64):
    """[frames, bands] by the configuration c, not normalised, with everything about it in that precision."""
    with precision(dtype):
        x = LIBRARIES[library](c, torch.from_numpy(samples).to(dtype))
    assert x.dtype == dtype
    return logarithm(c, x)


def significant(x):
    return [[float(f"{v:.6g}") for v in row] for row in x.tolist()]


def case(name, sound, samples, every):
    library, config = DEFINITIONS[name]
    wave = seeded.sound(sound, samples) / 32768
    x32, x64 = (normalised(config, spectrogram(library, config, wave, t)) for t in (torch.float32, torch.float64))
    noise = (x32 - x64).abs().max()
    config = {**config, "frames": len(x64)}
    return {"name": name, "sound": sound, "samples": samples, "by": library, "config": config, "frames": len(x64),
            "bands": x64.shape[1], "every": every, "noise": float(f"{noise:.2g}"), "values": significant(x64[::every])}


def as_transformers_saves(ast):
    """The case again, with the configuration that ASTFeatureExtractor saves."""
    saved = transformers.ASTFeatureExtractor(max_length=ast["frames"]).to_dict()
    return {**ast, "name": ast["name"] + ", its own file", "config": saved}


def compare_extractors():
    """transformers' two ways, and kaldi's in f64."""
    available = AST.is_speech_available
    for sound in ("pluck", "drums", "noise", "click"):
        wave = seeded.sound(sound, LONG) / 32768
        exact = normalised(KALDI, spectrogram("torchaudio's kaldi", KALDI, wave)).numpy()
        ways = {}
        for with_torchaudio in (True, False):
            AST.is_speech_available = lambda: with_torchaudio
            extractor = transformers.ASTFeatureExtractor(max_length=len(exact))
            ways[with_torchaudio] = extractor(wave.astype(numpy.float32), sampling_rate=16000)["input_values"][0]
        AST.is_speech_available = available
        print(f"{sound}: ASTFeatureExtractor from kaldi in f64: by torchaudio {abs(ways[True] - exact).max():.2g}, "
              f"by numpy {abs(ways[False] - exact).max():.2g}; they are up to {abs(exact).max():.3g}", file=sys.stderr)


def main():
    cases = [case(*arguments) for arguments in CASES]
    cases += [as_transformers_saves(c) for c in cases if c["name"] == "ast" and c["sound"] == "noise"]
    compare_extractors()
    for c in cases:
        print(f"{c['name']}, {c['sound']} {c['samples']}: f32 from f64 {c['noise']}", file=sys.stderr)
    sounds = [{"name": name, "samples": HASHED, "fnv1a64": seeded.hash_of(seeded.sound(name, HASHED))}
              for name in seeded.SOUNDS]
    print('{ "sounds": [\n' + ",\n".join("    " + json.dumps(s) for s in sounds) + " ],\n" + '  "cases": [')
    print(",\n".join("    " + json.dumps(c, separators=(",", ":")) for c in cases), "] }")


if __name__ == "__main__":
    main()
