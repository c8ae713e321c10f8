"""The starter encoders' networks in PyTorch, named as the C side reads them (torchvision's names)."""

import math

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                            nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(x)))))
        return torch.relu_(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """x [n, inputs, height, width] -> [n, widths[-1]]"""

    def __init__(self, inputs, widths):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        previous = widths[0]
        for stage, width in enumerate(widths, 1):
            blocks = [Block(previous, width, 1 if stage == 1 else 2), Block(width, width, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            previous = width
        self.dimension = previous
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Block):
                nn.init.zeros_(module.bn2.weight)  # each block begins as the identity (Goyal et al. 2017)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu_(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def averaged(average, model, decay):
    """Moves `average` towards `model`: an exponential mean of weights, and of batch norm's figures."""
    with torch.no_grad():
        mine, theirs = average.state_dict(), model.state_dict()
        for name, value in mine.items():
            if value.dtype.is_floating_point:
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])


def schedule(step, steps, warm):
    """Of the learning rate: up in a line, down by a cosine."""
    return step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def adamw(student, rate, decay):
    """Filters and matrices decay, what is one number a channel does not."""
    decayed = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim == 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0}], rate)


def save(path, student, average, optimizer, epoch):
    beside = path.with_suffix(".tmp")
    torch.save({"student": student.state_dict(), "average": average.state_dict(),
                "optimizer": optimizer.state_dict(), "epoch": epoch}, beside)
    beside.replace(path)


def resume(path, student, average, optimizer):
    """-> the epochs that are done"""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    student.load_state_dict(state["student"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"]
