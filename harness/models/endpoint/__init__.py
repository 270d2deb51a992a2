"""Models behind an OpenAI-compatible endpoint."""

from harness.models.endpoint.address import base_url
from harness.models.endpoint.model import EndpointModel

__all__ = ["EndpointModel", "base_url"]
