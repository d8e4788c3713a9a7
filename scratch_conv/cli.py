"""The `scratch-conv` command."""

import io
import os
import sys

# The extra of the package that installs a module that may be missing; parity's includes some of train's.
# Without torch, which the package asks for, the NumPy layers are there, and the demos of these alone.
EXTRAS = {
    "typer": "train",
    "rich": "train",
    "lightning": "train",
    "torchvision": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "scipy": "train",
    "hypothesis": "parity",
}
PARITY = {"typer", "rich", "matplotlib"}


def main() -> int:
    """Run the command line, and return its exit status."""
    # Otherwise torch's idle threads spin for milliseconds and take the cores from NumPy's. It must be set
    # before torch is loaded; child processes inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):  # a file's name may be of bytes that are no text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "torch":
            return _fail("torch is not installed: pip install torch", 2)
        if package not in EXTRAS:
            raise
        extra = "parity" if package in PARITY and sys.argv[1:2] == ["parity"] else EXTRAS[package]
        return _fail(f"{package} is not installed: pip install 'scratch-conv[{extra}]'", 2)
    except KeyboardInterrupt:
        return 130


def _run() -> int:
    import typer

    import scratch_conv
    from scratch_conv.demos import commands as demos
    from scratch_conv.parity import commands as parity
    from scratch_conv.training import commands as training
    from scratch_conv.training.settings import InputError

    app = typer.Typer(
        pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )

    @app.callback(invoke_without_command=True)
    def program(
        context: typer.Context, version: bool = typer.Option(False, help="Print the version.")
    ) -> None:
        """Layers of a CNN with hand-written derivatives: trained beside torch's, tested, and shown."""
        if version:
            print(f"scratch-conv {scratch_conv.__version__}")
            raise typer.Exit()
        if context.invoked_subcommand is None:
            raise InputError("a command is missing; scratch-conv --help lists them")

    app.command()(training.compare)
    app.command()(training.train)
    app.command()(training.report)
    app.command()(parity.parity)
    app.add_typer(demos.app, name="demo")
    try:
        return app(prog_name="scratch-conv", standalone_mode=False) or 0
    except InputError as error:
        return _fail(str(error), 2)
    except typer.TyperException as error:  # an unknown option, or an argument of the wrong type
        return _fail(error.format_message(), 2)


def _fail(message: str, status: int) -> int:
    print(f"scratch-conv: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
