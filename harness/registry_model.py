"""The pyfunc that MLflow stores beside an adapter (models-from-code): `mlflow models predict` answers a prompt.

Only a name of the base is stored, so the base is resolved where the model is used. Screentest never loads this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from harness.models.contracts import own_system
from harness.store.artifacts import from_json, read_json
from harness.types import Adapter, Decoding, Message


class AdapterModel(PythonModel):
    """Answers each row of a `prompt` column with the adapter's reply."""

    def load_context(self, context: PythonModelContext) -> None:
        """Bind the adapter's files to its base and check both."""
        from harness.models.local import LocalModel

        data = read_json(Path(context.artifacts["record"]))["adapter"]
        adapter = from_json(Adapter, data | {"path": context.artifacts["adapter"]})
        self._model = LocalModel.load(adapter.base)
        self._adapter = self._model.add_adapter(adapter)
        self._system = own_system(adapter, None)

    # The adapter's own system message stands before each prompt; the parameter `system` takes its place, "" none does.
    # MLflow makes a schema of `model_input`'s type, and warns where it cannot; a frame is left to the signature.
    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> list[str]:
        """Reply to each prompt; `params`, a mapping, may set what the signature lists."""
        from harness.models.chat_templates import chat_messages
        from harness.models.protocol import ReplyRequest

        asked = dict(params or {})
        said = asked.pop("system", None)
        system = self._system if said is None else said or None
        requests = [
            ReplyRequest(
                key=str(row),
                draw=0,
                messages=chat_messages((Message(role="user", content=str(prompt)),), system=system),
                adapter=self._adapter,
            )
            for row, prompt in enumerate(model_input["prompt"])
        ]
        replies = self._model.generate(requests, decoding=Decoding(**asked))
        return [reply.text for reply in replies]


mlflow.models.set_model(AdapterModel())
