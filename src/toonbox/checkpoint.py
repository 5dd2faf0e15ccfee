"""Generators on disk: safetensors, with the network's configuration beside the weights."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from toonbox.errors import ConfigError, WeightsError
from toonbox.files import replacing
from toonbox.networks.generator import Generator, GeneratorConfig

CONFIG_KEY = "generator"


def save_generator(generator: Generator, file: Path) -> None:
    """Write a generator's weights and its configuration into one file."""
    weights = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    with replacing(file) as temporary:
        # Not by `save_file`, which lets nobody but the owner read the file.
        temporary.write_bytes(save(weights, {CONFIG_KEY: json.dumps(asdict(generator.config))}))


def load_generator(file: Path) -> Generator:
    """Read a generator.

    Returns:
        The network on the CPU, in evaluation mode.
    Raises:
        WeightsError: the file is missing, damaged or not a generator's.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        generator = Generator(GeneratorConfig(**json.loads(metadata[CONFIG_KEY])))
        generator.load_state_dict(weights)
    except KeyError as error:
        raise WeightsError(f"{file}: holds no generator's configuration") from error
    except (OSError, SafetensorError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise WeightsError(f"{file}: {error}") from error
    return generator.eval()
