"""Write tests/formats/fixtures/fairseq2 with fairseq2 itself, which needs an environment of its own (torch 2.9.1).

    pip install fairseq2==0.8.1 && python tools/make_fairseq2_fixtures.py tests/formats/fixtures/fairseq2

Two narrow CTC models with random weights, norms before and after the blocks: the checkpoint, the card that fairseq2's
own training would write beside it, and the logits of one stretch of noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import torch
    from fairseq2.checkpoint.model_metadata import StandardModelMetadataDumper
    from fairseq2.file_system import LocalFileSystem
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2.asr.config import Wav2Vec2AsrConfig
    from fairseq2.models.wav2vec2.asr.factory import create_wav2vec2_asr_model
    from fairseq2.nn import BatchLayout
    from fairseq2.utils.structured import StandardValueConverter
    from fairseq2.utils.yaml import RuamelYamlDumper
except ModuleNotFoundError as error:  # bigfoot need not be there: no line of its own
    sys.exit(f"error: {error.name} is missing: pip install fairseq2==0.8.1")


def describe(norms_first: bool) -> Wav2Vec2AsrConfig:
    """Describe a narrow model; with norms last the projection between convolutions and encoder is left out."""
    config = Wav2Vec2AsrConfig(use_masking=not norms_first, target_vocab_size=10)
    encoder = config.encoder_config
    width = 4 if norms_first else 8
    encoder.model_dim, encoder.num_encoder_layers, encoder.num_encoder_attn_heads, encoder.ffn_inner_dim = 8, 2, 2, 12
    encoder.feature_dim = width
    encoder.feature_extractor_layer_descs = [(width, 10, 5)] + [(width, 3, 2)] * 4 + [(width, 2, 2)] * 2
    encoder.pos_conv_kernel_size, encoder.num_pos_conv_groups = 4, 2
    if norms_first:
        encoder.norm_order, encoder.layer_norm_features = TransformerNormOrder.PRE, False
        encoder.feature_extractor_bias = encoder.feature_extractor_layer_norm_convs = True
    return config


def main(root: Path) -> None:
    """Write both."""
    torch.manual_seed(0)
    files = LocalFileSystem()
    cards = StandardModelMetadataDumper(files, RuamelYamlDumper(files), StandardValueConverter())
    wave = torch.randn(1, 2000, generator=torch.Generator().manual_seed(3))
    for name, norms_first in (("pre", True), ("post", False)):
        folder, config = root / name, describe(norms_first)
        folder.mkdir(parents=True, exist_ok=True)
        model = create_wav2vec2_asr_model(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.1 * torch.randn_like(parameter)
            logits = model(wave, BatchLayout.of(wave))[0]
        torch.save({"model": model.state_dict()}, folder / "model.pt")
        cards.dump(folder, "wav2vec2_asr", config)
        torch.save({"input_values": wave, "logits": logits}, folder / "answers.bin")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
