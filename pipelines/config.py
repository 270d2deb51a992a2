"""Strict configuration of stages; the rules are the library's own."""

from harness.config import Seed, StrictConfig, load_yaml, parse, read_yaml

__all__ = ["Seed", "StrictConfig", "load_yaml", "parse", "read_yaml"]
