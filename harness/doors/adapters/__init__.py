"""A PEFT folder as plain tensors with checked settings; what would change the base, or is not known, stays outside."""

from harness.doors.adapters.folder import (
    ADAPTER_FILES,
    CONTRACT_FILE,
    AdapterFiles,
    adapter_digest,
    open_adapter_files,
    read_contract,
    write_contract,
)

__all__ = [
    "ADAPTER_FILES", "CONTRACT_FILE", "AdapterFiles", "adapter_digest", "open_adapter_files", "read_contract",
    "write_contract",
]  # fmt: skip
