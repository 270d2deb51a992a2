"""Other people's clients with their own defaults, each in the Python that `SCREENTEST_CLIENTS` names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from servers import Running

PYTHON = os.environ.get("SCREENTEST_CLIENTS", "")
LACKING = "set SCREENTEST_CLIENTS to a Python with litellm, llm, langchain-openai or deepeval: none of them fits ours"
pytestmark = [pytest.mark.skipif(not PYTHON, reason=LACKING), pytest.mark.slow]

ASKS = {
    "openai": """
from openai import OpenAI
client = OpenAI()
said = [client.chat.completions.create(model="base", messages=[{"role": "user", "content": "Hi?"}])]
with client.responses.stream(model="base", input="Hi?") as stream:
    said += [event.type for event in stream]
""",
    "litellm": """
import litellm
ask = {"model": "openai/base", "messages": [{"role": "user", "content": "Hi?"}]}
said = [litellm.completion(**ask), *litellm.completion(**ask, stream=True)]
said.append(litellm.responses(model="openai/base", input="Hi?"))
said.append(litellm.text_completion(model="text-completion-openai/base", prompt="Where"))
""",
    "langchain_openai": """
from langchain_openai import ChatOpenAI, OpenAI
said = [ChatOpenAI(model="base").invoke("Hi?"), *ChatOpenAI(model="base").stream("Hi?")]
said.append(OpenAI(model="base").invoke("Where"))
said.append(ChatOpenAI(model="base", use_responses_api=True).invoke("Hi?"))
""",
    "llm": """
from llm.default_plugins.openai_models import Chat
import os
model = Chat("base", model_name="base", api_base=os.environ["OPENAI_BASE_URL"])
model.key = "none"
said = [model.prompt("Hi?", stream=stream).text() for stream in (True, False)]
""",
    "deepeval": """
import os
from deepeval.models import LocalModel
said = [LocalModel(model="base", base_url=os.environ["OPENAI_BASE_URL"], api_key="none").generate("Hi?")]
""",
}  # fmt: skip


@pytest.mark.parametrize("client", ASKS)
def test_a_client_is_answered(server: Running, client: str, tmp_path: Path) -> None:
    found = subprocess.run([PYTHON, "-c", f"import {client}"], capture_output=True, cwd=tmp_path)
    if found.returncode:
        pytest.skip(f"`{PYTHON}` has no {client}")
    kept = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DEEPEVAL_TELEMETRY_OPT_OUT": "1"}
    kept |= {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_BASE": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
    n_asked = len(server.records)
    ran = subprocess.run(
        [PYTHON, "-c", f"{ASKS[client]}\nassert said"], env=kept, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert {record["status"] for record in server.records[n_asked:]} == {200}
