"""Run a teacher over the train split of a corpus, in many processes: transcripts, cached targets or embeddings.

    python recipes/corpus/ray.py transcripts facebook/wav2vec2-large-960h-lv60-self runs/libri/data out --workers 8
    python recipes/corpus/ray.py targets facebook/wav2vec2-base-960h runs/libri/data cache --hidden 4 8 12
    python recipes/corpus/ray.py embeddings facebook/hubert-base-ls960 runs/libri/data out --address auto

The corpus is divided into parts: a shard each, or so many utterances. A part is one file, written as a whole; the same
command skips those that are there. Ray Data gives parts to workers, and gives those of a worker that died to another.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

# This file has the library's name: its folder must not be searched for it.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

from bigfoot.errors import DataError, MissingExtraError, OutputError, plain_errors  # noqa: E402

with plain_errors():  # without the extra [train]: its install line
    import torch
    from safetensors.torch import save_file

    from bigfoot.audio.files import normalize_waveform
    from bigfoot.data.batch import CutSource, LoadedUtterance, collate
    from bigfoot.data.cuts import is_in_shards, read_cuts, write_relabelled
    from bigfoot.data.manifests import PreparedData, load_prepared, save_prepared
    from bigfoot.data.shards.address import parse_address
    from bigfoot.data.shards.ahead import OrderedAudio
    from bigfoot.data.shards.parts import Part, find_parts
    from bigfoot.decoding.greedy import transcribe_batches
    from bigfoot.distill.cache import CacheKey, plan_cache, write_cache_shard
    from bigfoot.embedding.hidden_states import LAST, encode
    from bigfoot.formats.folder import LoadedModel, load_model
    from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
    from bigfoot.progress import track
    from bigfoot.storage.digests import digest_file
    from bigfoot.storage.replace import swapped_in
    from bigfoot.storage.state import read_state, write_state

KINDS = ("transcripts", "targets", "embeddings")
SUFFIXES = {"transcripts": ".jsonl.gz", "embeddings": ".safetensors"}


@dataclass(frozen=True)
class PassState:
    """``pass.json`` of a folder of parts: what they are made of."""

    kind: str
    model: str
    corpus: str
    parts: int


def read_arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS, help="transcripts (with out/data, the corpus that has them), ...")
    parser.add_argument("model", help="the teacher: a folder, file, Hugging Face id, or tiny_teacher")
    parser.add_argument("data", type=Path, help="manifests that a run has made, such as runs/demo/data")
    parser.add_argument("out", type=Path, help="folder of the parts; of targets, the folder for distill.cache")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 runs in this one, without ray")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of a worker")
    parser.add_argument("--address", help="of a ray cluster, such as auto; by default one on this machine")
    parser.add_argument("--batch-size", type=int, default=8, help="utterances that are run together")
    parser.add_argument("--utterances", type=int, default=500, help="of a part, where the corpus is not in shards")
    parser.add_argument("--hidden", type=int, nargs="*", default=[], help="targets: layers beside the logits")
    parser.add_argument("--dtype", default="float16", help="targets: see distill.cache_dtype")
    parser.add_argument("--top-k", type=int, default=0, help="targets: see distill.cache_top_k")
    return parser.parse_args()


def find_pieces(manifest: Path, utterances: int) -> list[dict[str, Any]]:
    """The parts of a manifest: those of shards, or so many utterances each."""
    if is_in_shards(manifest):
        return [{"number": number, "start": part.start, "end": part.end, "count": part.count}
                for number, part in enumerate(find_parts(manifest))]  # fmt: skip
    total = sum(1 for _ in read_cuts(manifest))
    return [{"number": number, "start": first, "end": -1, "count": min(utterances, total - first)}
            for number, first in enumerate(range(0, total, utterances))]  # fmt: skip


def read_piece(manifest: Path, piece: dict[str, Any]) -> Iterator[CutSource]:
    """The utterances of a part; those of a shard are read in its order."""
    if piece["end"] < 0:
        yield from map(CutSource.of, islice(read_cuts(manifest), piece["start"], piece["start"] + piece["count"]))
        return
    sources = [CutSource.of(cut) for cut in Part(manifest, piece["start"], piece["end"], piece["count"]).read()]
    audio = OrderedAudio()
    for source in sources:
        audio.expect(parse_address(source.path))
    for source in sources:
        yield replace(source, content=audio.take(parse_address(source.path)))


class TeacherPass:
    """Does parts; lives in a worker, with a model of its own.

    Args:
        given: arguments of the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        self.given, self.loaded = given, load_model(given.model)
        self.loaded.model.eval().to("cuda" if given.gpus and torch.cuda.is_available() else "cpu")
        self.manifest = load_prepared(given.data).manifests["train"]

    def __call__(self, piece: dict[str, Any]) -> dict[str, Any]:
        """Do a part unless it is done; return its number and whether it was done now."""
        given, loaded = self.given, self.loaded
        if given.kind == "targets":
            done = write_cache_shard(
                given.out, loaded.model, self.manifest, loaded.processor, given.batch_size, piece["number"]
            )
            return {"number": piece["number"], "done": done}
        path = part_of(given, piece["number"])
        if path.is_file():
            return {"number": piece["number"], "done": False}
        write = write_transcripts if given.kind == "transcripts" else write_embeddings
        with swapped_in(path) as beside:
            write(loaded, read_piece(self.manifest, piece), given.batch_size, beside)
        return {"number": piece["number"], "done": True}


def part_of(given: argparse.Namespace, number: int) -> Path:
    """The file of a part."""
    return Path(given.out) / f"part-{number:06d}{SUFFIXES[given.kind]}"


def load_batches(loaded: LoadedModel, sources: Iterator[CutSource], size: int) -> Iterator[list[LoadedUtterance]]:
    """Utterances with their audio, so many at a time."""
    while chosen := [source.load(loaded.processor.sample_rate) for source in islice(sources, size)]:
        yield chosen


def write_transcripts(loaded: LoadedModel, sources: Iterator[CutSource], size: int, path: Path) -> None:
    """Lines of id, text and confidence."""
    tokenizer, audio = loaded.processor.tokenizer, replace(loaded.processor, tokenizer=None)
    if tokenizer is None or not loaded.model.config.ctc_head:
        raise DataError("the model has no CTC head with a vocabulary; its transcripts cannot be written")
    batches = (collate(chosen, audio) for chosen in load_batches(loaded, sources, size))
    found = transcribe_batches(loaded.model, batches, tokenizer)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for name, text, confidence in zip(found.ids, found.hypotheses, found.confidences, strict=True):
            file.write(json.dumps({"id": name, "text": text, "confidence": round(confidence, 4)}) + "\n")


def write_embeddings(loaded: LoadedModel, sources: Iterator[CutSource], size: int, path: Path) -> None:
    """The mean of the last hidden states, (D,) of every utterance; none depends on a batch."""
    found = {}
    for chosen in load_batches(loaded, sources, size):
        for item in chosen:
            samples = normalize_waveform(item.samples) if loaded.processor.do_normalize else item.samples
            found[item.id] = torch.from_numpy(encode(loaded.model, samples, LAST).states.mean(axis=0))
    save_file(found, path)


def plan(given: argparse.Namespace, prepared: PreparedData) -> list[dict[str, Any]]:
    """The parts, and a folder that is theirs."""
    loaded = load_model(given.model)
    model = fingerprint_files(loaded.folder) if loaded.folder is not None else given.model
    if given.kind == "targets":
        targets = {"logits": {0}} | ({"hidden_states": set(given.hidden)} if given.hidden else {})
        key = CacheKey.of(prepared.audio["train"], loaded.processor, model, targets, given.dtype, given.top_k)
        shards = plan_cache(given.out, key, loaded.model, prepared.manifests["train"], loaded.processor)
        return [{"number": number, "start": 0, "end": 0, "count": len(names)} for number, names in enumerate(shards)]
    pieces = find_pieces(prepared.manifests["train"], given.utterances)
    state, file = PassState(given.kind, model, prepared.contents["train"], len(pieces)), given.out / "pass.json"
    given.out.mkdir(parents=True, exist_ok=True)
    if not file.is_file() and any(given.out.iterdir()):
        raise OutputError(f"{given.out} holds what this recipe did not write; name another folder")
    if file.is_file() and read_state(file, PassState)[0] != state:
        raise OutputError(f"{given.out} holds parts of another model or corpus ({asdict(state)}); name another folder")
    write_state(file, state)
    return pieces


def run_by_ray(given: argparse.Namespace, pieces: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Parts in the order in which they are done."""
    try:
        import ray  # type: ignore[import-not-found,unused-ignore]
        import ray.data
    except ImportError as error:
        raise MissingExtraError("train", "ray[data]") from error
    local = {} if given.address else {"num_cpus": given.workers + 1, "include_dashboard": False}
    ray.init(address=given.address, log_to_driver=False, **local)
    try:
        compute = ray.data.ActorPoolStrategy(size=given.workers)
        dataset = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map(
            TeacherPass, fn_constructor_args=(given,), compute=compute, num_cpus=1, num_gpus=given.gpus,
            max_restarts=-1, max_task_retries=-1,
        )  # fmt: skip
        yield from dataset.iter_rows()
    finally:
        ray.shutdown()


def collect_transcripts(given: argparse.Namespace, prepared: PreparedData, pieces: list[dict[str, Any]]) -> Path:
    """Write manifests of train with the teacher's transcripts, for ``bigfoot data shar --prepared``."""
    texts: dict[str, str] = {}
    for piece in pieces:
        with gzip.open(part_of(given, piece["number"]), "rt", encoding="utf-8") as file:
            texts |= {row["id"]: row["text"] for row in map(json.loads, file)}
    folder = given.out / "data"
    folder.mkdir(exist_ok=True)
    path = folder / "cuts_train.jsonl.gz"
    write_relabelled(prepared.manifests["train"], texts, path)
    train = "train"
    save_prepared(
        PreparedData(
            folder, {train: path}, [], {train: prepared.hours[train]}, {train: prepared.num_utterances[train]},
            {train: fingerprint(prepared.contents[train], texts)}, {train: prepared.audio[train]},
            {path.name: digest_file(path)},
        )
    )  # fmt: skip
    return folder


def main() -> None:
    """Plan, run, and join what belongs together."""
    given = read_arguments()
    prepared = load_prepared(given.data)
    pieces = plan(given, prepared)
    todo = [piece for piece in pieces if given.kind == "targets" or not part_of(given, piece["number"]).is_file()]
    found = map(TeacherPass(given), todo) if given.workers == 0 else run_by_ray(given, todo)
    done = sum(row["done"] for row in track(found, given.kind, len(todo), "parts")) if todo else 0
    print(f"{given.kind}: {done} parts done, {len(pieces) - done} were there, in {given.out}")
    if given.kind == "transcripts":
        print(f"train with these transcripts: {collect_transcripts(given, prepared, pieces)}")


if __name__ == "__main__":
    with plain_errors():
        main()
