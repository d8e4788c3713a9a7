"""The commands `demo edges`, `demo lines`, ... Their dependencies are imported when one of them runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

Out = Annotated[Path | None, typer.Option(help="The folder for the images.", show_default="runs/demo-<name>")]
ImageFile = Annotated[Path | None, typer.Option(help="An image file.", show_default="a drawn one")]
Seed = Annotated[int, typer.Option(help="Seeds the data, the first weights and the batches.", min=0)]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder with MNIST in torchvision's layout.", show_default="download"),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="A run's folder or one of its checkpoints, of any backend.",
        show_default="a network trained first on drawn shapes",
    ),
]


@app.callback(invoke_without_command=True)
def demo(context: typer.Context) -> None:
    """Small illustrated demonstrations on the NumPy layers."""
    from scratch_conv.training.settings import InputError

    if context.invoked_subcommand is None:
        raise InputError("a demo is missing; scratch-conv demo --help lists them")


@app.command()
def edges(image: ImageFile = None, out: Out = None) -> None:
    """Find edges, sharpen and blur with filters that are not trained."""
    from scratch_conv.demos.edges import run

    run(image, _folder(out, "edges"))


@app.command()
def lines(seed: Seed = 0, out: Out = None) -> None:
    """Train four filters to distinguish vertical from horizontal lines."""
    from scratch_conv.demos.lines import run

    run(seed, _folder(out, "lines"))


@app.command()
def shift(data_dir: DataDir = None, seed: Seed = 0, out: Out = None) -> None:
    """Shift digits, and see which networks still recognise them: takes about a minute."""
    from scratch_conv.demos.shift import run

    run(data_dir, seed, _folder(out, "shift"))


@app.command()
def gradcheck(seed: Seed = 0, out: Out = None) -> None:
    """Compare each layer's backward pass with differences of its forward pass: takes about ten seconds."""
    from scratch_conv.demos.gradcheck import run

    if not run(seed, _folder(out, "gradcheck")):
        raise typer.Exit(1)


@app.command()
def filters(checkpoint: Checkpoint = None, image: ImageFile = None, seed: Seed = 0, out: Out = None) -> None:
    """Show the filters of a trained network, and its feature maps for an image.

    Without --checkpoint a network is trained first, which takes about half a minute.
    """
    from scratch_conv.demos.filters import run

    run(checkpoint, image, seed, _folder(out, "filters"))


@app.command()
def notebook(
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("convolution.ipynb"),
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
) -> None:
    """Write a guided Jupyter notebook: convolution from one edge to a trained network, with exercises."""
    from scratch_conv.demos.notebook import run

    run(out, overwrite=overwrite)


def _folder(out: Path | None, name: str) -> Path:
    """Return the folder for a demo's images, after checking that it can be written."""
    from scratch_conv.training.reporting.writing import check_writable

    folder = out or Path("runs") / f"demo-{name}"
    check_writable(folder)
    return folder
