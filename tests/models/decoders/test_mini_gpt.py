import math

import pytest
import torch

from bigfoot.models.decoders import MiniGPT


def plain(model, tokens, memory):
    """One utterance, every attention written out head by head."""
    size, x = model.hidden_size, []
    for position, token in enumerate(tokens):
        rates = [10_000 ** (-i / (size // 2)) for i in range(size // 2)]
        place = [math.sin(position * r) for r in rates] + [math.cos(position * r) for r in rates]
        x.append(model.embedding.weight[token] * math.sqrt(size) + torch.tensor(place))
    x = torch.stack(x)
    for layer in model.layers:
        x = x + attend(layer.attention, layer.attention_norm(x), layer.attention_norm(x), causal=True)
        first, *others = memory.split(7, dim=-1)
        read = attend(layer.memory_attention, layer.memory_norm(x), first, causal=False)
        for index, stream in enumerate(others):
            more = attend(layer.stream_attentions[index], layer.memory_norm(x), stream, causal=False)
            read = read + torch.tanh(layer.stream_gates[index]) * more
        x = x + read
        x = x + layer.feed_forward(layer.feed_forward_norm(x))
    return torch.nn.functional.linear(model.norm(x), model.embedding.weight)


def attend(module, x, memory, causal):
    queries, keys, values = module.q_proj(x), module.k_proj(memory), module.v_proj(memory)
    width, rows = queries.shape[1] // module.num_heads, []
    for i in range(len(x)):
        mixed = []
        for head in range(module.num_heads):
            part = slice(head * width, (head + 1) * width)
            last = i + 1 if causal else len(memory)
            weights = (keys[:last, part] @ queries[i, part] / math.sqrt(width)).softmax(0)
            mixed.append(weights @ values[:last, part])
        rows.append(torch.cat(mixed))
    return module.out_proj(torch.stack(rows))


@pytest.fixture(scope="module", params=[1, 3])
def model(request):
    torch.manual_seed(0)
    shape = {"hidden_size": 12, "num_layers": 2, "num_heads": 3, "memory_size": 7, "num_streams": request.param}
    model = MiniGPT(9, end_id=0, dropout=0.2, **shape).eval()
    for layer in model.layers:
        if request.param > 1:
            layer.stream_gates.data.normal_()
    return model


def width(model):
    return 7 * (1 + len(model.layers[0].stream_attentions))


@torch.no_grad()
def test_equals_a_plain_loop_with_any_cache_and_padding(model):
    tokens, memory = torch.randint(0, 9, (2, 6)), torch.randn(2, 5, width(model))
    memory_mask = torch.tensor([[True] * 5, [False, False, True, True, True]])
    memories = memory[0], memory[1, 2:]
    expected = torch.stack([plain(model, row.tolist(), states) for row, states in zip(tokens, memories, strict=True)])
    torch.testing.assert_close(model(tokens, memory, memory_mask), expected, atol=1e-5, rtol=1e-5)
    cache, found = model.start(memory, memory_mask), []
    for begin, end in ((0, 3), (3, 4), (4, 6)):
        found.append(model(tokens[:, begin:end], memory, memory_mask, cache))
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_before_a_prompt_moves_nothing(model):
    tokens, memory = torch.tensor([[4, 2, 7]]), torch.randn(1, 5, width(model))
    padded, mask = torch.tensor([[8, 8, 4, 2, 7]]), torch.tensor([[False, False, True, True, True]])
    logits = model(padded, memory, None, None, mask)
    torch.testing.assert_close(logits[:, 2:], model(tokens, memory), atol=1e-5, rtol=1e-5)
    assert logits.isfinite().all()


def test_embeddings_are_tied(model):
    assert not [name for name, _ in model.named_parameters() if "head" in name]
    assert sum(parameter.shape == (9, 12) for parameter in model.parameters()) == 1
