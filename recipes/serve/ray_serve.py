"""Serve models on the machines of a Ray cluster: the server of ``bigfoot serve``, one of it in every replica.

    pip install 'ray[serve]' 'bigfoot-speech[serve]'
    ray start --head                                  # and, on every other machine: ray start --address HEAD:6379
    serve run recipes/serve/cluster.yaml              # on the head; serve deploy ... leaves it running

Models and numbers stand in ``cluster.yaml``. Model files lie at the same place on every machine, or in a bucket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ray import serve

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application


@dataclass
class Settings:
    """Arguments of the application.

    Args:
        models: their places by the name that a request gives.
        threads: of a replica; ask for as many processors by ``num_cpus``.
        limits: see ``bigfoot.serve.limits.Limits``.
    """

    models: dict[str, str]
    threads: int = 1
    limits: dict[str, float] = field(default_factory=dict)


def build(arguments: dict[str, object]) -> Application:
    """Build the application that ``cluster.yaml`` names.

    Args:
        arguments: of ``args`` there, see ``Settings``.
    """
    settings = Settings(**arguments)  # type: ignore[arg-type]

    def open_replica() -> FastAPI:
        from bigfoot.cli.transcribe import open_transcriber
        from bigfoot.serve.application import build_app
        from bigfoot.serve.limits import Limits
        from bigfoot.storage.remote import fetch

        models = {
            name: open_transcriber(str(fetch(place)), settings.threads) for name, place in settings.models.items()
        }
        return build_app(models, Limits(**settings.limits))  # type: ignore[arg-type]

    replica = serve.ingress(open_replica)()
    return serve.deployment(replica, name="bigfoot").bind()  # type: ignore[no-any-return]
