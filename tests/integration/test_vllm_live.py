"""`serve --engine vllm` with the vLLM that `SCREENTEST_VLLM` names, in a Python of its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from embedded import embedded_adapter, free_port
from openai import OpenAI
from servers import wait_until_it_answers
from stories import command, environment, fresh_home

from harness.models.bases import load_tokenizer, resolve_base
from harness.models.chat_templates import render
from harness.models.contracts import contract_of
from harness.models.local import LocalModel
from harness.models.protocol import ReplyRequest
from harness.registry import publish
from harness.settings import Settings
from harness.store.tracking import Tracking
from harness.types import Decoding

PROGRAM = os.environ.get("SCREENTEST_VLLM", "")
pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="set SCREENTEST_VLLM to the program `vllm` of a Python of its own"),
    pytest.mark.model,
    pytest.mark.slow,
]
OWN = 'You keep the light. Say "so" — {{ no }} %}'
ASKED = ("What of the harbour?", "Where were you?", "Is that blood?")
CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}


def test_vllm_takes_the_command_and_answers_as_this_process_does(tmp_path: Path) -> None:
    base, home, port = resolve_base("embedded"), fresh_home(tmp_path / "home"), free_port()
    contract = contract_of(load_tokenizer(base), system=OWN, max_tokens=512, quantization="none")
    tracking = Tracking(Settings.from_environment({"SCREENTEST_HOME": str(home)}))
    adapter = replace(embedded_adapter(tmp_path / "adapter"), contract=contract)
    publish(tracking, adapter, name="light", card="# card")
    model = LocalModel.load(base)
    name = model.add_adapter(adapter)
    line = command("serve", "base", "light@candidate", "--engine", "vllm", "--port", port, "--dtype", "float32")
    path = {"PATH": f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(line, env=environment(home, {**CPU, **path}), stdout=log, stderr=log)
        try:
            n_same = 0
            wait_until_it_answers(f"http://127.0.0.1:{port}", seconds=300)
            with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300) as client:
                for variant, adapted in (("light@candidate", name), ("base", None)):
                    for brought in (None, "Be brief."):
                        for text in ASKED:
                            user = {"role": "user", "content": text}
                            said = [] if brought is None else [{"role": "system", "content": brought}]
                            answer = client.chat.completions.create(
                                model=variant, messages=[*said, user], max_tokens=12, temperature=0  # type: ignore[list-item]
                            )  # fmt: skip
                            chat = [{"role": "system", "content": brought or OWN}, user]
                            request = ReplyRequest(key="k", messages=chat, adapter=adapted)
                            decoding = Decoding(max_new_tokens=12, temperature=0.0)
                            (own,) = model.generate([request], decoding=decoding)
                            assert answer.usage is not None
                            assert answer.usage.prompt_tokens == len(render(model.tokenizer, chat))
                            n_same += (answer.choices[0].message.content or "").strip() == own.text
            assert n_same >= 10  # of 12: sums in another order decide a near tie otherwise
        finally:
            process.kill()
            process.wait()
