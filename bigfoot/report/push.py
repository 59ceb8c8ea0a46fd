"""Upload models to the Hugging Face hub: one self-contained folder with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path

from huggingface_hub import HfApi

# HTTPError: of the hub's HTTP library, which depends on its version; raised if the hub is unreachable.
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
)
from huggingface_hub.utils._validators import validate_repo_id

from bigfoot.errors import ModelError
from bigfoot.formats.conversion import convert_model
from bigfoot.formats.folder import LoadedModel
from bigfoot.progress import show_work
from bigfoot.report.card import write_card
from bigfoot.storage.inventory import MARKER
from bigfoot.storage.ownership import OWN_ONLY, MayReplace


def write_upload(
    loaded: LoadedModel, repository: str, folder: Path, license: str | None = None, may: MayReplace = OWN_ONLY
) -> None:
    """Write the upload: the family's format if it can express the shape, else bigfoot's with its code; and the card.

    Args:
        loaded: the model, its processor and history.
        repository: owner/name on the hub.
        folder: destination; one that bigfoot wrote is replaced.
        license: of the weights; see ``render_card``.
        may: what else may be replaced.

    Raises:
        ModelError: the repository's name is invalid, or the written model's outputs differ from the model's.
        OutputError: the folder holds what bigfoot did not write, or another process writes it.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ModelError(f"{repository!r} cannot be the name of a repository: {error}") from error
    # transformers' own classes do not support quantized weights: there, an upload would be as large as before.
    plain = loaded.model.config.is_huggingface_shape and loaded.model.config.small_weights is None
    convert_model(
        loaded, folder, to="huggingface" if plain else "bigfoot", with_code=not plain, may=may,
        finish=lambda beside: write_card(loaded, repository, beside, license),
    )  # fmt: skip


def push_model(loaded: LoadedModel, repository: str, *, private: bool = False, license: str | None = None) -> str:
    """Upload a model, with the account of ``hf auth login`` or the hub's environment variable.

    Args:
        loaded: the model, its processor and history.
        repository: owner/name on the hub; created if new.
        private: whether a new repository is private.
        license: of the weights.

    Returns:
        The address of the upload.

    Raises:
        ModelError: the hub rejected the upload, or is unreachable.
    """
    api = HfApi()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_upload(loaded, repository, folder, license)
        (folder / MARKER).unlink()  # the marker of a local folder, not of a repository
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            with show_work(f"uploading {repository}"):
                done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload by bigfoot")
        except (HTTPError, LocalTokenNotFoundError, OSError) as error:
            raise ModelError(f"the hub did not take {repository}: {error}; `hf auth login` if you are not logged in,"
                             " or --dry-run to see what would be uploaded") from error  # fmt: skip
    return str(done.commit_url)
