"""The command line of the library. `torchrun -m course_lib train ...` trains on several
GPUs.

Exit codes: 0 done, 1 it failed, 2 the command line cannot be read, 130 interrupted.
"""

import importlib
import os
import sys

from course_lib.commands.parser import UsageError, parse


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code. Errors that a user can mend are one
    sentence on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # a pipe or file of Windows may have no ✓: print ? instead
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        args = parse(sys.argv[1:] if arguments is None else arguments)
        if args.command in ("train", "sample") and os.environ.get("RANK", "0") == "0":
            if not getattr(args, "json", False):
                print("loading torch, the recipes and the data ...", flush=True)
        command = importlib.import_module(f"course_lib.commands.{args.command}")
        return command.run(args) or 0
    except UsageError as error:
        return _failed(error, 2)
    except BrokenPipeError:  # `list | head`: nobody reads the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        return _failed(error, 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        return _failed(
            "the GPU's memory is full: give a smaller --batch-size, or --device cpu", 1
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _failed(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
