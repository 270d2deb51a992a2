"""`screentest_contract.json`: how an adapter was asked in training, beside its two files; no part of their digest."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError
from harness.store.artifacts import from_json, read_json, write_json
from harness.types import Contract

CONTRACT_FILE = "screentest_contract.json"
_MAX = 2**20  # bytes


def write_contract(folder: Path, contract: Contract | None) -> None:
    """Put it beside an adapter's files, where one is known."""
    if contract is not None:
        write_json(folder / CONTRACT_FILE, contract)


def read_contract(folder: Path) -> Contract | None:
    """The contract in a folder; None where nobody wrote one down. Raises InputError: the file is none."""
    file = folder / CONTRACT_FILE
    if not file.is_file():
        return None
    if (size := file.stat().st_size) > _MAX:
        raise InputError(
            f"`{file}` must be at most {_MAX:,} bytes, got {size:,}; remove it, or export the adapter again"
        )
    try:
        contract = from_json(Contract, read_json(file))
    except InputError as err:
        raise InputError(f"`{file}` must be a contract as `screentest adapters export` writes it: {err}") from err
    return contract
