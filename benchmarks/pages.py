"""Pictures of the pages of runs: `python -m benchmarks.pages DIR... --out FOLDER`; needs Chromium.

The example images are left out: those of most data sets may be used, and not be passed on.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

HIDDEN = "<style>.images.small { display: none }</style>"
WIDTH, MOST = 1000, 16_000  # pixels


def main() -> None:
    """Write a picture, named after the run's folder, of each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="the folders of finished runs")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the pictures")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        parser.error("no Chromium is installed")
    options.out.mkdir(parents=True, exist_ok=True)
    for run in options.runs:
        print(picture(run, options.out / f"{run.resolve().name}.png", browser))


def picture(run: Path, path: Path, browser: str) -> Path:
    """Write a picture of a run's whole page, cut where the page ends; return its path."""
    page = (run / "report.html").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.html").write_text(page.replace("</head>", f"{HIDDEN}</head>"), encoding="utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        sized = (f"--window-size={WIDTH},{MOST}", f"--user-data-dir={folder / 'profile'}")
        taken = folder / "page.png"
        command = [browser, *options, *sized, f"--screenshot={taken}", (folder / "page.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=240)
        image = Image.open(taken).convert("RGB")
    rows = np.asarray(image).reshape(image.height, -1)
    last = int(np.flatnonzero((rows != rows[-1]).any(1)).max(initial=0))
    image.crop((0, 0, WIDTH, min(last + 40, image.height))).quantize(128).save(path, optimize=True)
    return path


if __name__ == "__main__":
    main()
