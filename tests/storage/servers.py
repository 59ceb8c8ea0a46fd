"""Servers of this machine that speak S3 and Google Cloud Storage; a test without their packages is skipped."""

import pytest


def serve_gs(request, monkeypatch):
    """Files of a server that speaks Google Cloud Storage."""
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks Google about every bucket
    gcsfs = pytest.importorskip("gcsfs")
    server = pytest.importorskip("gcp_storage_emulator.server").create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    request.addfinalizer(server.stop)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server._api._httpd.server_port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    return pytest.importorskip("fsspec").filesystem("gs")


def serve_s3(request, monkeypatch):
    """Files of a server that speaks S3."""
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    request.addfinalizer(server.stop)
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    s3fs.S3FileSystem.clear_instance_cache()
    return pytest.importorskip("fsspec").filesystem("s3")
