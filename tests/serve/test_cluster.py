"""The recipe for several machines: its file builds the server of one. Ray itself is played, since CI has none."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

pytestmark = pytest.mark.slow
pytest.importorskip("fastapi")

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "serve"


def test_a_replica_is_the_server(place, monkeypatch):
    deployment = lambda app, name: SimpleNamespace(bind=lambda: (name, app))  # noqa: E731
    ray = SimpleNamespace(serve=SimpleNamespace(ingress=lambda build: lambda: build, deployment=deployment))
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.chdir(place)
    (application,) = yaml.safe_load((RECIPE / "cluster.yaml").read_text())["applications"]
    module, name = application["import_path"].split(":")
    assert module == "recipes.serve.ray_serve"
    deployed, open_replica = runpy.run_path(str(RECIPE / "ray_serve.py"))[name](application["args"])
    assert [each["name"] for each in application["deployments"]] == [deployed]
    assert {"/v1/audio/transcriptions", "/v1/audio/stream", "/metrics"} <= {
        route.path for route in open_replica().routes
    }
