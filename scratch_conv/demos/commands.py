"""The commands `demo edges`, `demo lines`, ... What they need is imported when one of them runs."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Small, pictured walks through the idea, on the layers in NumPy.")

Out = Annotated[
    Path | None, typer.Option(help="The folder for the pictures.", show_default="runs/demo-<name>")
]
Picture = Annotated[Path | None, typer.Option(help="A file with a picture.", show_default="a drawn one")]
Seed = Annotated[int, typer.Option(help="Decides the data, the first weights and the batches.", min=0)]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder with MNIST in torchvision's layout.", show_default="download"),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="A run's folder or one of its checkpoints, of any backend.",
        show_default="a network is trained on drawn shapes first",
    ),
]


@app.command()
def edges(picture: Picture = None, out: Out = None) -> None:
    """Find edges, sharpen and blur by filters that nobody trained."""
    from scratch_conv.demos.edges import run

    run(picture, _folder(out, "edges"))


@app.command()
def lines(seed: Seed = 0, out: Out = None) -> None:
    """Let four filters learn to tell vertical lines from horizontal ones."""
    from scratch_conv.demos.lines import run

    run(seed, _folder(out, "lines"))


@app.command()
def shift(data_dir: DataDir = None, seed: Seed = 0, out: Out = None) -> None:
    """Move digits about, and see which network still knows them: about a minute."""
    from scratch_conv.demos.shift import run

    run(data_dir, seed, _folder(out, "shift"))


@app.command()
def gradcheck(seed: Seed = 0, out: Out = None) -> None:
    """Compare every layer's backward pass with differences of its forward pass."""
    from scratch_conv.demos.gradcheck import run

    if not run(seed, _folder(out, "gradcheck")):
        raise typer.Exit(1)


@app.command()
def filters(checkpoint: Checkpoint = None, picture: Picture = None, seed: Seed = 0, out: Out = None) -> None:
    """Show the filters of a trained network, and what becomes of a picture on its way through."""
    from scratch_conv.demos.filters import run

    run(checkpoint, picture, seed, _folder(out, "filters"))


def _folder(out: Path | None, name: str) -> Path:
    """Return the folder for a demo's pictures, having seen that it can be written."""
    from scratch_conv.training.reporting.writing import check_writable

    folder = out or Path("runs") / f"demo-{name}"
    check_writable(folder)
    return folder
