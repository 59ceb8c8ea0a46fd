"""Write the feature encoder as nodes, convolutions as products, grouped ones in strands."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from bigfoot.export.log_mel import LogMelWriter
from bigfoot.export.parts import PartWriter
from bigfoot.export.statistics import channel_statistics, inverse_spread, normalized
from bigfoot.export.writer import GraphWriter
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import ConvLayer
from bigfoot.models.streaming import ChannelScale


class FeatureWriter(PartWriter):
    """Writes the feature encoder and its projection.

    Args:
        model: see ``PartWriter``.
        graph: see there.
        normalize: bring utterances to zero mean and unit variance first.

    Attributes:
        waveform: (B, N, 1), what the convolutions took, once they are written.
    """

    def __init__(self, model: BigfootForCTC, graph: GraphWriter, normalize: bool) -> None:
        super().__init__(model, graph)
        self.normalize, self.waveform = normalize, ""

    def write(self, samples: str, lengths: str) -> tuple[str, str]:
        """Write it all.

        Args:
            samples: (B, N).
            lengths: (B,) real samples.

        Returns:
            (B, T, D) of frames, and (B,) real frames.
        """
        if not self.config.has_convolutions:
            self.waveform = self.graph.op("Unsqueeze", samples, self.graph.ints(2))
            return LogMelWriter(self.model, self.graph).write(samples, lengths)
        self.waveform = self._waveform(samples, lengths)
        strands = [self.waveform]
        for index, layer in enumerate(self.model.speech_encoder.feature_encoder):
            lengths = self._count_frames(layer, lengths)
            strands = self.convolve(layer, index, strands, lengths)
        return self.graph.concat(strands), lengths

    def _waveform(self, x: str, lengths: str) -> str:
        g = self.graph
        if self.normalize:
            mask = g.op("Squeeze", self.frame_mask(g.size(x, 1), lengths), g.ints(2))
            x = normalized(g, x, mask, lengths)
        fewest = self.config.receptive_field
        missing = g.op("Max", g.op("Sub", g.ints(fewest), g.size(x, 1)), g.ints(0))
        return g.op("Unsqueeze", g.pad(x, 1, 0, missing, 2), g.ints(2))

    def _count_frames(self, layer: ConvLayer, lengths: str) -> str:
        g, kernel, stride = self.graph, layer.conv.kernel_size[0], layer.conv.stride[0]
        enough = g.op("Max", g.op("Add", lengths, g.ints(stride - kernel)), g.ints(0))
        return g.op("Div", enough, g.ints(stride))

    def convolve(self, layer: ConvLayer, index: int, strands: list[str], lengths: str) -> list[str]:
        """Write one convolution with its norm and activation.

        Args:
            layer: of the feature encoder.
            index: which, 0-based.
            strands: (B, T, C / strands) each.
            lengths: (B,) real frames of the output, read by a norm over time alone.

        Returns:
            As many strands as the next layer takes.
        """
        g, conv, norm = self.graph, layer.conv, layer.layer_norm
        following = self.config.groups_of_convs[index + 1 :][:1] or [1]
        if isinstance(norm, nn.GroupNorm):
            strands = self._first_conv(conv, norm, strands[0], lengths, following[0])
        else:
            strands = self._conv(conv, strands, 1 if isinstance(norm, nn.LayerNorm) else following[0], norm)
        if isinstance(norm, nn.LayerNorm):
            strands = g.split(self.norm(norm, g.concat(strands)), following[0])
        return [self.activate(strand, self.config.feat_extract_activation) for strand in strands]

    def _conv(self, conv: nn.Conv1d, strands: list[str], wanted: int, norm: nn.Module | None) -> list[str]:
        """Convolve in strands: as many as there are groups, or as many as the next layer wants to find."""
        g, name, groups = self.graph, self.names[conv], conv.groups
        if len(strands) != groups:
            strands = g.split(g.concat(strands), groups)
        pieces = wanted if wanted % groups == 0 and conv.out_channels % wanted == 0 else groups
        weight, bias = _scaled(conv, norm)
        kernels = weight.chunk(pieces)
        biases = [None] * pieces if bias is None else bias.chunk(pieces)
        seen = []
        for strand in strands:
            planes = g.prepare(strand, name)
            unfolded = (self.unfold(plane.values, conv.kernel_size[0], conv.stride[0]) for plane in planes)
            seen.append([plane._replace(values=x) for plane, x in zip(planes, unfolded, strict=True)])
        own = "" if isinstance(norm, ChannelScale) else name
        outputs = [
            g.product(
                seen[piece * groups // pieces], kernel.permute(2, 1, 0).flatten(0, 1), bias, own, (piece, pieces)
            )
            for piece, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
        ]
        g.layers[name] = (strands, outputs)
        return outputs

    def _first_conv(self, conv: nn.Conv1d, norm: nn.GroupNorm, x: str, lengths: str, wanted: int) -> list[str]:
        """Write the first convolution and its group norm as one product."""
        g, kernel = self.graph, conv.weight.detach()[:, 0].T  # (K, C)
        windows = self.unfold(x, conv.kernel_size[0], conv.stride[0])  # (B, T, K)
        mask = self.frame_mask(g.size(windows, 1), lengths)
        centred, variance = channel_statistics(g, windows, mask, lengths, kernel)
        scale = inverse_spread(g, variance, norm.weight, norm.eps)
        scaled = g.op("Mul", g.constant(kernel), scale)  # (B, K, C)
        shift = g.op("Expand", g.constant(norm.bias[None, None]), g.op("Shape", scale))
        full = g.op("Concat", scaled, shift, axis=1)
        ones = g.op("Add", g.op("Mul", mask, g.constant(np.array(0.0))), g.constant(np.array(1.0)))
        augmented = g.op("Concat", centred, ones, axis=2)
        pieces = wanted if conv.out_channels % wanted == 0 else 1
        outputs = [g.op("MatMul", augmented, part) for part in g.split(full, pieces)]
        return outputs

    def project(self, x: str) -> str:
        """Project features to the width of the transformer.

        Args:
            x: (B, T, C).
        """
        projection = self.model.speech_encoder.feature_projection
        x = self.norm(projection.layer_norm, x)
        return x if projection.projection is None else self.linear(projection.projection, x)


def _scaled(conv: nn.Conv1d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """Return kernel and bias of a convolution, with the scale and shift behind it, where there are any, in both."""
    weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
    if isinstance(norm, ChannelScale):
        scale, shift = norm.weight.detach(), norm.bias.detach()
        weight, bias = weight * scale[:, None, None], shift if bias is None else bias * scale + shift
    return weight, bias
