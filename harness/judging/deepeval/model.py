"""One of our models as deepeval's: text for its prompts, and exact probabilities where it weights a score.

deepeval's GEval asks for a JSON object and weights its `score` with the likeliest tokens at that place, which it takes
from an OpenAI completion. Here the model writes the object greedily; then it is asked for the exact probabilities of
the ten digits at the place where it wrote the score, after the very text it wrote. A score of two digits, or one with a
point, stands on no single token: like deepeval with any other model, it stays unweighted.

Import this module through `harness.judging.deepeval.quiet`, never first.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from deepeval.models import DeepEvalBaseLLM
from openai.types.chat import ChatCompletion, ChatCompletionMessage, ChatCompletionTokenLogprob
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_token_logprob import TopLogprob

from harness.artifacts import digest_json
from harness.models.protocol import LanguageModel, OptionProbabilities, OptionRequest, ReplyRequest, require
from harness.types import Decoding

DIGITS = tuple("0123456789")
NO_MASS = 1e-12  # below it a token's logarithm is that of nothing
_SCORE = re.compile(r'"score"\s*:\s*"?(\d)(?![\d.])')


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenScore:
    """What the model wrote last for a metric, and what it thought of the digits there."""

    text: str
    is_cut: bool  # the text ran into the length cap
    digits: OptionProbabilities | None  # at the score's place; None where the text has no one-digit score
    error: str = ""  # why there is no text

    @property
    def has_weights(self) -> bool:
        """Whether deepeval finds a digit that it counts: one with at least 1 % of the probability."""
        return self.digits is not None and max(self.digits.probabilities) * self.digits.mass >= 0.01


class BridgedModel(DeepEvalBaseLLM):  # type: ignore[no-untyped-call]  # deepeval's __init_subclass__ has no types
    """A `LanguageModel` behind deepeval's interface; greedy, so that the same prompt gives the same text."""

    def __init__(self, model: LanguageModel, *, name: str = "", max_new_tokens: int = 256) -> None:
        """Wrap a model that can generate; see `harness.judging.deepeval.bridge_model`."""
        require(model, "generate", who="deepeval")
        self.language_model = model
        self.decoding = Decoding(max_new_tokens=max_new_tokens, temperature=0.0, top_p=1.0)
        self.last: WrittenScore | None = None
        self._name = name or (model.base.source if model.base is not None else "model")
        super().__init__(self._name)

    @property
    def gives_probabilities(self) -> bool:
        """Whether a metric's score can be weighted at all."""
        return "option_probabilities" in self.language_model.supports

    def forget(self) -> None:
        """Before a metric runs: what was written for another says nothing about this one."""
        self.last = None

    def load_model(self) -> LanguageModel:  # type: ignore[override]  # deepeval says a model of its own, and means any
        """The model, which is loaded already."""
        return self.language_model

    def get_model_name(self) -> str:
        """Its name in deepeval's messages."""
        return self._name

    def generate(self, prompt: str) -> str:
        """The model's text for a prompt."""
        return self._write(prompt).text

    async def a_generate(self, prompt: str) -> str:
        """The same: a local model gains nothing from waiting."""
        return self.generate(prompt)

    def generate_raw_response(self, prompt: str, top_logprobs: int = 20) -> tuple[ChatCompletion, float | None]:
        """The text as a completion whose log-probabilities stand at the score's place alone; cost unknown.

        Raises AttributeError for a model without exact probabilities, which is how deepeval asks to be told.
        """
        if not self.gives_probabilities:
            raise AttributeError("this model gives no probabilities")
        written = self._write(prompt)
        found = _score_place(written.text)
        if found is not None:
            written = WrittenScore(
                text=written.text, is_cut=written.is_cut, digits=self._digits(prompt, written.text[: found.start(1)])
            )
        self.last = written
        logprobs = None
        if written.digits is not None and found is not None:
            logprobs = ChoiceLogprobs(content=[_token(found[1], written.digits, top_logprobs)], refusal=None)
        choice = Choice(
            index=0,
            finish_reason="length" if written.is_cut else "stop",
            message=ChatCompletionMessage(role="assistant", content=written.text),
            logprobs=logprobs,
        )
        completion = ChatCompletion(
            id=digest_json([prompt])[:16], created=0, model=self._name, object="chat.completion", choices=[choice]
        )
        return completion, None

    async def a_generate_raw_response(self, prompt: str, top_logprobs: int = 20) -> tuple[ChatCompletion, float | None]:
        """The same as `generate_raw_response`."""
        return self.generate_raw_response(prompt, top_logprobs=top_logprobs)

    def _write(self, prompt: str) -> WrittenScore:
        request = ReplyRequest(key=digest_json([prompt])[:16], messages=[{"role": "user", "content": prompt}])
        reply = self.language_model.generate([request], decoding=self.decoding)[0]
        self.last = WrittenScore(
            text=reply.text, is_cut=reply.finish_reason == "length", digits=None, error=reply.error
        )
        return self.last

    def _digits(self, prompt: str, before: str) -> OptionProbabilities:
        request = OptionRequest(
            key=digest_json([prompt])[:16],
            messages=[{"role": "user", "content": prompt}],
            prefix=before,
            options=DIGITS,
        )
        return self.language_model.option_probabilities([request])[0]


def _score_place(text: str) -> re.Match[str] | None:
    """Where the score's digit stands: the last one, as deepeval looks from the end."""
    return next(iter(list(_SCORE.finditer(text))[::-1]), None)


def _token(written: str, digits: OptionProbabilities, top: int) -> ChatCompletionTokenLogprob:
    logprobs = {
        option: math.log(max(p * digits.mass, NO_MASS))
        for option, p in zip(digits.options, digits.probabilities, strict=True)
    }
    ranked = sorted(logprobs.items(), key=lambda entry: -entry[1])[:top]
    return ChatCompletionTokenLogprob(
        token=written,
        logprob=logprobs[written],
        top_logprobs=[TopLogprob(token=token, logprob=value) for token, value in ranked],
    )
