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
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from deepeval.models import DeepEvalBaseLLM
from openai.types.chat import ChatCompletion, ChatCompletionMessage, ChatCompletionTokenLogprob
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_token_logprob import TopLogprob

from harness.models.protocol import LanguageModel, OptionProbabilities, OptionRequest, ReplyRequest, require
from harness.store.artifacts import digest_json
from harness.types import Decoding

DIGITS = tuple("0123456789")
NO_MASS = 1e-12  # below it a token's logarithm is that of nothing
_SCORE = re.compile(r'"score"\s*:\s*"?(\d)(?![\d.])')


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenScore:
    """What the model wrote last for a metric, and what it thought of the digits there."""

    text: str
    is_cut: bool  # the text ran into the length cap
    digits: OptionProbabilities | None = None  # at the score's place; None where the text has no one-digit score
    token: ChatCompletionTokenLogprob | None = None  # of the score with its rivals, as deepeval reads it
    is_refused: bool = False  # an endpoint would not answer

    @property
    def has_weights(self) -> bool:
        """Whether deepeval finds a digit that it counts: one with at least 1 % of the probability."""
        return self.digits is not None and max(self.digits.probabilities) * self.digits.mass >= 0.01


class Bridge(DeepEvalBaseLLM):  # type: ignore[no-untyped-call]  # deepeval's __init_subclass__ has no types
    """One of our models behind deepeval's interface; greedy, so that the same prompt gives the same text."""

    gives_probabilities: bool  # whether a metric's score can be weighted at all

    def __init_subclass__(cls, **options: Any) -> None:
        """deepeval's own, with types."""
        super().__init_subclass__(**options)  # type: ignore[no-untyped-call]

    def __init__(self, name: str) -> None:
        """Under a name for deepeval's messages."""
        self.last: WrittenScore | None = None
        self._name = name
        super().__init__(name)

    def forget(self) -> None:
        """Before a metric runs: what was written for another says nothing about this one."""
        self.last = None

    def load_model(self) -> Any:
        """The model, which is loaded already."""
        return self

    def get_model_name(self) -> str:
        """Its name in deepeval's messages."""
        return self._name

    def generate(self, prompt: str) -> str:
        """The model's text for a prompt."""
        self.last = self.write(prompt)
        return self.last.text

    async def a_generate(self, prompt: str) -> str:
        """The same: our metrics run one after the other."""
        return self.generate(prompt)

    def generate_raw_response(self, prompt: str, top_logprobs: int = 20) -> tuple[ChatCompletion, float | None]:
        """The text as a completion whose log-probabilities stand at the score's place alone; cost unknown.

        Raises AttributeError for a model without probabilities, which is how deepeval asks to be told.
        """
        if not self.gives_probabilities:
            raise AttributeError("this model gives no probabilities")
        self.last = written = self.weigh(prompt, top_logprobs)
        choice = Choice(
            index=0,
            finish_reason="length" if written.is_cut else "stop",
            message=ChatCompletionMessage(role="assistant", content=written.text),
            logprobs=None if written.token is None else ChoiceLogprobs(content=[written.token], refusal=None),
        )
        completion = ChatCompletion(
            id=digest_json([prompt])[:16], created=0, model=self._name, object="chat.completion", choices=[choice]
        )
        return completion, None

    async def a_generate_raw_response(self, prompt: str, top_logprobs: int = 20) -> tuple[ChatCompletion, float | None]:
        """The same as `generate_raw_response`."""
        return self.generate_raw_response(prompt, top_logprobs=top_logprobs)

    @abstractmethod
    def write(self, prompt: str) -> WrittenScore:
        """The model's text for a prompt; InputError where it has none."""

    @abstractmethod
    def weigh(self, prompt: str, top_logprobs: int) -> WrittenScore:
        """The same with what the model thought of the digits where it wrote the score; InputError as of `write`."""


class BridgedModel(Bridge):
    """A `LanguageModel` behind deepeval's interface."""

    def __init__(self, model: LanguageModel, *, name: str = "", max_new_tokens: int = 256) -> None:
        """Wrap a model that can generate; see `harness.judging.deepeval.bridge_model`."""
        require(model, "generate", who="deepeval")
        self.language_model = model
        self.decoding = Decoding(max_new_tokens=max_new_tokens, temperature=0.0, top_p=1.0)
        self.gives_probabilities = "option_probabilities" in model.supports
        super().__init__(name or (model.base.source if model.base is not None else "model"))

    def write(self, prompt: str) -> WrittenScore:
        """See `Bridge.write`."""
        request = ReplyRequest(key=digest_json([prompt])[:16], messages=[{"role": "user", "content": prompt}])
        reply = self.language_model.generate([request], decoding=self.decoding)[0]
        return WrittenScore(text=reply.text, is_cut=reply.finish_reason == "length")

    def weigh(self, prompt: str, top_logprobs: int) -> WrittenScore:
        """See `Bridge.weigh`: the exact probabilities of the ten digits after the very text that was written."""
        written = self.write(prompt)
        found = score_place(written.text)
        if found is None:
            return written
        digits = self._digits(prompt, written.text[: found.start(1)])
        return replace(written, digits=digits, token=_token(found[1], digits, top_logprobs))

    def _digits(self, prompt: str, before: str) -> OptionProbabilities:
        request = OptionRequest(
            key=digest_json([prompt])[:16],
            messages=[{"role": "user", "content": prompt}],
            prefix=before,
            options=DIGITS,
        )
        return self.language_model.option_probabilities([request])[0]


def score_place(text: str) -> re.Match[str] | None:
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
