"""Files are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from costmodels.errors import Fault, InputError


def write_whole(path: Path, content: str | bytes) -> None:
    """
    Writes a file by renaming a finished one into place.

    Raises
    ------
    InputError
        When the folder is missing or not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError([Fault(str(path), f"cannot be written: {error.strerror or error}")]) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise InputError([Fault(str(path), f"cannot be written: {error.strerror or error}")]) from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: Path) -> None:
    """
    Says early that a file could not be written later.

    Raises
    ------
    InputError
        When its folder does not exist or cannot be written to.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError([Fault(str(path), f"folder {folder} does not exist; make it first")])
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise InputError([Fault(str(path), "cannot be written there")])
