"""What a process that cannot import bigfoot makes of model folders; started by ``plain_answers`` of ``conftest.py``.

Arguments: a JSON file {name: [opener, folder]}, a file with audio, and where the answers go. An opener is a class of
transformers', or ``pipeline``; ``+code`` behind it lets the folder's own code run.
"""

import json
import sys
from pathlib import Path


class Blocker:
    """Refuses bigfoot, were it installed or not."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "bigfoot":
            raise ImportError("bigfoot cannot be imported here")


def open_processor(kind, folder, wave, **options):
    import torch

    processor = kind.from_pretrained(folder, **options)
    values = processor(wave[0].numpy() * 3 + 1, sampling_rate=16_000, return_tensors="pt").input_values
    return {
        "kind": type(processor).__name__,
        "input_values": values,
        "text": processor.batch_decode(torch.tensor([[4, 5, 5, 0, 5, 4, 6, 0]]))[0],
        "labels": processor(text="A CAT").input_ids,
    }


def open_pipeline(pipeline, folder, wave, **options):
    listener = pipeline("automatic-speech-recognition", folder, **options)
    return {"kind": type(listener.model).__name__, "text": listener(wave[0].numpy())["text"]}


def open_model(kind, folder, wave, **options):
    import torch

    model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    with torch.no_grad():
        output = model.eval()(wave, output_hidden_states=True)
    return {
        "kind": type(model).__name__,
        "info": {key: sorted(map(str, value)) for key, value in info.items()},
        "names": sorted(model.state_dict()),
        "logits": output.get("logits"),
        "hidden_states": list(output.hidden_states),
    }


def main(tasks_file, wave_file, answers_file):
    sys.meta_path.insert(0, Blocker())
    try:
        import bigfoot
    except ImportError:
        pass
    else:
        raise SystemExit(f"bigfoot was imported from {bigfoot.__file__}")

    import torch
    import transformers

    torch.set_num_threads(1)
    wave, answers = torch.load(wave_file, weights_only=True), {}
    for name, (opener, folder) in json.loads(Path(tasks_file).read_text()).items():
        opener, _, code = opener.partition("+")
        open_it = open_processor if opener.endswith("Processor") else open_model
        open_it = open_pipeline if opener == "pipeline" else open_it
        options = {"trust_remote_code": True} if code else {}
        answers[name] = open_it(getattr(transformers, opener), folder, wave, **options)
    if any(module.split(".")[0] == "bigfoot" for module in sys.modules):
        raise SystemExit("bigfoot was imported on the way")
    torch.save(answers, answers_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
