"""Models behind an OpenAI-compatible endpoint.

chat_client     attempts: retries with backoff, a limit on concurrent calls, a circuit breaker
queue           the request queue: cached answers first, the rest asked, charged and kept
endpoint_model  a `LanguageModel` behind an endpoint; `replicas` spreads its requests over equal servers
capabilities    what a server can do, asked once; `parameters` writes a call as it takes it
"""

from harness.models.endpoint.connecting import base_url
from harness.models.endpoint.endpoint_model import EndpointModel

__all__ = ["EndpointModel", "base_url"]
