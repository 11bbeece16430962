"""Weights and training states on disk: one safetensors file each, written whole or not at all, and never a pickle.

A safetensors file is a JSON header followed by raw numbers, so that reading one cannot run code, whoever made it.
Everything that is not a tensor (step counts, learning rates, a model card) is JSON text inside that header:
one file, one rename, hence never a half-written state.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from helpers.data.files import StorageError, write_atomic

State: TypeAlias = Any
"""A dict, list, tuple, tensor, number, text or None, in any nesting."""

_HEADER_KEY = "json"  # the one metadata entry: with a single key, equal content gives equal bytes


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], header: object) -> None:
    """Write tensors (moved to the CPU, each with its own memory) and one JSON value as one safetensors file."""
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    try:
        text = json.dumps(header, sort_keys=True)
    except TypeError as error:
        raise StorageError(f"{path.name}: metadata must be JSON: {error}") from error
    write_atomic(path, tensors_to_bytes(own, metadata={_HEADER_KEY: text}))


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `_write_tensors` wrote; tensors are copies, so that the file may be replaced while they live."""
    try:
        with safe_open(path, framework="pt") as file:  # checks the header and every offset
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get(_HEADER_KEY, "{}"))
    except OSError as error:
        raise StorageError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise StorageError(f"{path.name}: not a sound safetensors file: {error}") from error


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    half: bool = False,
) -> None:
    """Ship weights: one safetensors file, written atomically, with a JSON description inside.

    Args:
        weights: A module (its `state_dict` is taken) or a mapping from names to tensors of any dtype and device.
        path: The file to write.
        metadata: Any JSON values, such as the constructor's arguments, seeds, threshold.
        half: Store floating-point tensors as float16: half the size, about three decimal digits. `load_weights`
            gives them back in the module's own dtype. Integers and booleans stay as they are.

    Raises:
        StorageError: The file cannot be written, the metadata are not JSON, or `half` would overflow (above 65504).
    """
    tensors = dict(weights.state_dict() if isinstance(weights, nn.Module) else weights)
    if half:
        tensors = {name: _to_half(name, tensor) for name, tensor in tensors.items()}
    _write_tensors(path, tensors, dict(metadata or {}))


def _to_half(name: str, tensor: Tensor) -> Tensor:
    """Cast a floating tensor to float16, refusing values that float16 cannot hold."""
    if not tensor.is_floating_point():
        return tensor
    small = tensor.detach().half()
    if bool((small.isinf() & ~tensor.isinf()).any()):
        raise StorageError(f"{name}: a value is too large for float16 (above 65504)")
    return small


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `save_weights` (or any safetensors file) without a module at hand.

    Args:
        path: The file.

    Returns:
        The tensors by name, on the CPU, in the dtype that they were stored in; and the metadata.

    Raises:
        StorageError: The file is missing, truncated or corrupt.
    """
    tensors, header = _read_tensors(path)
    return tensors, header if isinstance(header, dict) else {}


def load_weights(module: nn.Module, path: Path) -> dict[str, Any]:
    """Fill a module with the weights of a file, in place, keeping the module's dtype and device.

    Args:
        module: A module of the same architecture.
        path: A file of `save_weights`.

    Returns:
        The file's metadata.

    Raises:
        StorageError: The file is unsound, or names or shapes differ from the module's.
    """
    tensors, metadata = read_weights(path)
    fill(module, tensors, path.name)
    return metadata


def fill(module: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """`load_state_dict` with a one-line error."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{name}: does not fit the network: {reason}") from error


def write_state(path: Path, state: State) -> None:
    """Write a nested state (dict, list, tuple, tensor, number, text, None) as one safetensors file, atomically.

    This is how optimizers are stored: their tensors beside the weights, all else as JSON.

    Args:
        path: The file to write.
        state: The value; keys of dictionaries are texts or integers.

    Raises:
        StorageError: A part is of another type, or the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    header = _pack(state, tensors, "state")
    _write_tensors(path, tensors, header)


def read_state(path: Path) -> State:
    """Read the value that `write_state` wrote, equal to the last bit, tensors on the CPU.

    Args:
        path: The file.

    Returns:
        The nested value.

    Raises:
        StorageError: The file is missing, truncated, corrupt or not a file of `write_state`.
    """
    tensors, header = _read_tensors(path)
    try:
        return _unpack(header, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path.name}: not a stored state: {error}") from error


def _pack(value: State, tensors: dict[str, Tensor], name: str) -> State:
    """Turn a nested value into JSON; its tensors move to `tensors` and leave their name behind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        if name in tensors:
            raise StorageError(f"two tensors are called {name}")
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str | int) for key in value):
            raise StorageError(f"{name}: keys must be texts or integers")
        return {"dict": [[key, _pack(part, tensors, f"{name}/{key}")] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_pack(part, tensors, f"{name}/{i}") for i, part in enumerate(value)]}
    raise StorageError(f"{name}: a {type(value).__name__} cannot be stored")


def _unpack(value: State, tensors: Mapping[str, Tensor]) -> State:
    """Undo `_pack`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(part, tensors) for key, part in content}
    if kind in ("list", "tuple"):
        parts = [_unpack(part, tensors) for part in content]
        return parts if kind == "list" else tuple(parts)
    raise ValueError(f"unknown kind {kind!r}")


def all_finite(module: nn.Module) -> bool:
    """Tell whether every parameter of a module is free of NaN and infinity (buffers may hold them on purpose)."""
    flags = [parameter.detach().isfinite().all() for parameter in module.parameters()]
    return not flags or bool(torch.stack([flag.to("cpu") for flag in flags]).all())
