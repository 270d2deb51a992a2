"""A chat template, and what it writes around a turn: adapted once, the same for training, generation and scoring.

Published templates refuse a system turn (Gemma), or two turns of one role (Mistral); think before they speak unless
told not to, or write an empty thought before the last reply alone (Qwen3); print today's date (Llama 3); put a space
before a reply that belongs to its first token (Llama 2). What must be done about it is found by asking the template,
and is part of the identity of whatever is rendered (`Adaptation`). A template that asks for nothing is used as it is.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from harness.errors import ConfigError, InputError
from harness.store.artifacts import digest_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ChatMessage = dict[str, str]
_Found = TypeVar("_Found")

TODAY = "2024-07-26"  # what Llama 3 templates say where they cannot know the date
_SWITCHES = ("enable_thinking", "thinking")
_JOINT = "\n\n"  # as the corpus reader puts a system message before the first user message
# Shapes of what templates mark turns with: <|im_start|>, <start_of_turn>, </s>, [INST], ### Response:
_MARK = re.compile(r"<[^<>\s]{1,64}>|\[/?[A-Z][A-Z_]*\]|^#{2,} ?\w[\w ]{0,40}:", re.MULTILINE)
_PIPED = re.compile(r"<[|｜].+[|｜]>")
_WORDS = ("Bluefinch", "Redwren", "Greyowl", "Pinkheron")
_REPLIES = ("Here, by the door", "7 of them", "“Why?” she said", '"No," he said', "été", "...")
_SHAPES = (("system", "user"), ("system", "user", "assistant", "user"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """How chats are changed before a template sees them, and what it adds to them; the default changes nothing."""

    folds_system: bool = False  # a system message stands before the text of the user turn after it
    merges_turns: bool = False  # neighbouring turns of one role are one turn
    opens_with_user: bool = False  # an empty user turn stands before an assistant's that would be the first
    off: tuple[str, ...] = ()  # variables that are false, e.g. "enable_thinking"
    date: str | None = None  # the day that the template prints
    opening: str = ""  # what the template writes only before a reply that is there: ends every prompt
    lead: str = ""  # the same, where it is tokenised together with the reply: begins every reply

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done, a phrase each; nothing for a template that is used as it is."""
        said = {
            "system prompt put before the first user turn": self.folds_system,
            "neighbouring turns of one role merged": self.merges_turns,
            "empty user turn put before an assistant's first": self.opens_with_user,
            f"{' and '.join(self.off)} off": self.off,
            f"date fixed to {self.date}": self.date,
            f"{self.opening!r} written before every reply": self.opening,
            f"{self.lead!r} begins every reply": self.lead,
        }
        return tuple(f"chat template: {note}" for note, holds in said.items() if holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """What the start-up check learned about a tokenizer's chat template."""

    end_id: int  # the token that ends an assistant turn: trained, scored and stopped at
    end_token: str  # its text, e.g. "<|im_end|>"
    adaptation: Adaptation = Adaptation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The marks that can begin or end a turn: no text may spell one."""

    pattern: re.Pattern[str] | None
    normalize: Callable[[str], str] | None  # the tokenizer's own, which may make a mark of look-alikes

    def break_up(self, text: str) -> str:
        """The text with every written-out mark split by a space after its first character; any other as it is."""
        if self.pattern is None:
            return text
        if self.normalize is not None and not text.isascii() and not self.pattern.search(text):
            plain = self.normalize(text)
            text = plain if self.pattern.search(plain) else text
        while self.pattern.search(text):  # again: marks may overlap
            text = self.pattern.sub(_split, text)
        return text


def _once(find: Callable[[PreTrainedTokenizerBase], _Found]) -> Callable[[PreTrainedTokenizerBase], _Found]:
    """Find something out once per tokenizer, and again when template or tokens were changed."""
    known: weakref.WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, _Found]] = weakref.WeakKeyDictionary()

    @functools.wraps(find)
    def found(tokenizer: PreTrainedTokenizerBase) -> _Found:
        state = (tokenizer.chat_template, len(tokenizer), tokenizer.bos_token, tokenizer.eos_token)
        if tokenizer not in known or known[tokenizer][0] != state:
            known[tokenizer] = (state, find(tokenizer))
        return known[tokenizer][1]

    return found


@_once
def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Check at start-up that the chat template can be used, adapt it, and learn its end token.

    The rules: there is a template; it writes every turn; the prompt's rendering is the beginning of the rendering with
    the reply, which then goes on with the reply's own tokens; and a control token follows the reply.

    Raises ConfigError: no adaptation makes a rule hold, so that training and generation would see different text.
    """
    name = getattr(tokenizer, "name_or_path", "") or "tokenizer"
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(f"`{name}` must have a chat template, got none; take the instruct model or add a template")
    found = _variables(tokenizer, _roles(tokenizer))
    try:
        chats = [_probe(roles) for roles in _SHAPES]
        written = [_reply_written(tokenizer, found, chat, reply) for chat in chats for reply in _REPLIES]
    except InputError as err:
        raise ConfigError(
            f"`{name}` must have a chat template that writes user and assistant turns, it says: "
            f"{_reason(err.__cause__)}; use a model whose template does, or mend it"
        ) from err
    last = written[-1].whole
    if len({w.between for w in written}) > 1 or any(w.between is None or not w.has_all for w in written):
        raise _rewrites(name, last)
    between = written[0].between or ""
    tries = [replace(found, opening=between), replace(found, lead=between), found]
    if not between.strip(" "):  # most tokenizers have the space before a word in the word's own token
        tries[:2] = reversed(tries[:2])
    for tried in tries:
        ends = {_end_id(tokenizer, tried, w) for w in written}
        if None not in ends and len(ends) == 1:
            return _closed(tokenizer, tried, cast(int, ends.pop()), name)
    raise _rewrites(name, last)


def write(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, reply_follows: bool) -> str:
    """The text of a chat under the adapted template; `reply_follows` adds all that stands before a reply.

    Raises:
        ConfigError: see `chat_format`. InputError: the template refuses these turns.
    """
    return _write(tokenizer, chat_format(tokenizer).adaptation, messages, reply_follows=reply_follows)


@_once
def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Identity of a chat template as it is used: its text and how it is adapted."""
    return digest_json({"template": tokenizer.chat_template, "adapted": asdict(chat_format(tokenizer).adaptation)})


def bring_system(tokenizer: PreTrainedTokenizerBase, system: str) -> str:
    """The tokenizer's template, which puts this system message before a chat that brings none, as `write` would.

    For programs that know templates alone. A system message that is brought stands as it is.
    """
    how = chat_format(tokenizer).adaptation
    text = json.dumps(control(tokenizer).break_up(system), ensure_ascii=False)
    alone = f"[{{'role': '{'user' if how.folds_system else 'system'}', 'content': {text}}}] + messages"
    folded = f"[{{'role': 'user', 'content': {text} + {_JOINT!r} + messages[0]['content']}}] + messages[1:]"
    put = f"({folded}) if messages[0]['role'] == 'user' else ({alone})" if how.folds_system else alone
    off = "".join(f"{{%- set {name} = false %}}" for name in how.off)
    # A line of its own, whose end the template engine takes away: what follows begins a line as before.
    return (
        "{%- if messages and not (messages | selectattr('role', 'in', ['system', 'developer']) | list) %}"
        f"{{%- set messages = {put} %}}{{%- endif %}}{off}\n{tokenizer.get_chat_template()}"
    )


@_once
def control(tokenizer: PreTrainedTokenizerBase) -> Control:
    """The marks of a tokenizer and its template: special tokens, and whatever the template writes around turns.

    An ordinary added token (a line break, a run of spaces, `<b>`) is text like any other.
    """
    template = str(tokenizer.chat_template or "")
    added = [(str(token), token.special) for token in tokenizer.added_tokens_decoder.values()]
    marks = {text for text, is_special in added if is_special or _PIPED.fullmatch(text)}
    marks |= {text for text, _ in added if text in template and _MARK.fullmatch(text)}
    marks |= set(_MARK.findall(_around_turns(tokenizer)))
    ordered = sorted((m for m in marks if len(m.split()) and len("".join(m.split())) > 1), key=len, reverse=True)
    core = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return Control(
        pattern=re.compile("|".join(map(re.escape, ordered))) if ordered else None,
        normalize=None if core is None else core.normalize_str,
    )


# ── asking the template ──────────────────────────────────────────────────────────────────────────────────────────────


def _write(
    tokenizer: PreTrainedTokenizerBase, how: Adaptation, messages: Iterable[Mapping[str, str]], *, reply_follows: bool
) -> str:
    import jinja2

    # A template is a program: beside its own refusals come those of the values that it handles.
    broken = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
    turns = _fitting(messages, how)
    options: dict[str, Any] = dict.fromkeys(how.off, False)
    if tokenizer.bos_token is None:
        options["bos_token"] = ""  # nothing, also where a template joins it to text
    options["strftime_now"] = datetime.date.fromisoformat(how.date or TODAY).strftime
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=reply_follows, **options)
    except broken as err:
        roles = ", ".join(turn["role"] for turn in turns)
        raise InputError(
            f"`messages` must suit the model's chat template, got roles [{roles}] and it says: {_reason(err)}; "
            "merge or reorder the turns"
        ) from err
    return f"{text}{how.opening if reply_follows else ''}"


def _reason(err: BaseException | None) -> str:
    return " ".join(str(err).split())[:300]


def _fitting(messages: Iterable[Mapping[str, str]], how: Adaptation) -> list[ChatMessage]:
    """The turns that the template is given."""
    turns: list[ChatMessage] = []
    is_open = False  # whether the turn before waits for the user's text
    for message in messages:
        is_folded = how.folds_system and message["role"] == "system"
        role = "user" if is_folded else message["role"]
        if turns and turns[-1]["role"] == role and (how.merges_turns or is_open):
            turns[-1]["content"] = _JOINT.join(filter(None, (turns[-1]["content"], message["content"])))
        else:
            turns.append({"role": role, "content": message["content"]})
        is_open = is_folded
    first = next((i for i, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    if how.opens_with_user and turns[first:] and turns[first]["role"] == "assistant":
        turns.insert(first, {"role": "user", "content": ""})
    return turns


def _probe(roles: Sequence[str]) -> list[ChatMessage]:
    return [{"role": role, "content": word} for role, word in zip(roles, _WORDS, strict=False)]


def _takes(tokenizer: PreTrainedTokenizerBase, how: Adaptation, *roles: str) -> bool:
    """Whether the template writes every one of these turns, neither refusing nor dropping one."""
    chat = _probe(roles)
    try:
        text = _write(tokenizer, how, chat, reply_follows=True)
    except InputError:
        return False
    return all(turn["content"] in text for turn in chat)


def _roles(tokenizer: PreTrainedTokenizerBase) -> Adaptation:
    """Which turns must be moved: where a template takes all, nothing is."""
    takes = functools.partial(_takes, tokenizer)
    how = Adaptation()
    how = replace(how, folds_system=not all(takes(how, *roles) for roles in _SHAPES))
    pairs = (("user", "user"), ("user", "assistant", "assistant", "user"))
    how = replace(how, merges_turns=not all(takes(how, *roles) for roles in pairs))
    return replace(how, opens_with_user=not takes(how, "assistant", "user"))


def _variables(tokenizer: PreTrainedTokenizerBase, how: Adaptation) -> Adaptation:
    """Which variables change what is written: thinking, which is switched off, and the date, which is fixed."""
    whole = [_probe(roles) for roles in (*_SHAPES, ("system", "user", "assistant"))]

    def written(how: Adaptation) -> list[str]:
        follows = [chat[-1]["role"] == "user" for chat in whole]
        try:
            return [_write(tokenizer, how, c, reply_follows=f) for c, f in zip(whole, follows, strict=True)]
        except InputError:
            return []  # said by `chat_format`

    plain = written(how)
    off = tuple(name for name in _SWITCHES if written(replace(how, off=(name,))) not in ([], plain))
    return replace(how, off=off, date=TODAY if written(replace(how, date="2025-08-30")) != plain else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A reply as the template writes it after its prompt."""

    prompt: str
    reply: str
    whole: str
    between: str | None  # what stands between the two; None where the prompt is not the beginning
    has_all: bool  # whether every turn is there


def _reply_written(
    tokenizer: PreTrainedTokenizerBase, how: Adaptation, chat: Sequence[ChatMessage], reply: str
) -> _Written:
    prompt = _write(tokenizer, how, chat, reply_follows=True)
    whole = _write(tokenizer, how, [*chat, {"role": "assistant", "content": reply}], reply_follows=False)
    before, found, _ = whole[len(prompt) :].partition(reply)
    return _Written(
        prompt=prompt,
        reply=reply,
        whole=whole,
        between=before if whole.startswith(prompt) and found else None,
        has_all=all(turn["content"] in whole for turn in chat),
    )


def _end_id(tokenizer: PreTrainedTokenizerBase, how: Adaptation, written: _Written) -> int | None:
    """The first token after a reply that is more than space; None where the tokens before it are not those asked."""
    whole = _encode(tokenizer, written.whole)
    through = _encode(tokenizer, written.prompt + how.opening) + _encode(tokenizer, how.lead + written.reply)
    if whole[: len(through)] != through:
        return None
    after = whole[len(through) :]
    return next((token for token in after if str(tokenizer.decode([token])).strip()), after[0] if after else None)


def _closed(tokenizer: PreTrainedTokenizerBase, how: Adaptation, end_id: int, name: str) -> ChatFormat:
    end_token = cast(str, tokenizer.convert_ids_to_tokens(end_id))
    if end_id not in tokenizer.added_tokens_decoder or not end_token.strip():
        raise ConfigError(
            f"`{name}` must end an assistant turn with a control token, got {end_token!r}; "
            "use a model whose template closes turns with a token such as `<|im_end|>`"
        )
    return ChatFormat(end_id=end_id, end_token=end_token, adaptation=how)


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _rewrites(name: str, whole: str) -> ConfigError:
    return ConfigError(
        f"`{name}` must have a chat template that writes prompt, reply and an end token in this order, got "
        f"{whole[:600]!r}; use a model whose template does not rewrite earlier turns"
    )


def _around_turns(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes around the turns of a chat; nothing where it cannot be used."""
    try:
        chats = [_probe((*roles, *more)) for roles in _SHAPES for more in ((), ("assistant",))]
        text = "\n".join(write(tokenizer, chat, reply_follows=chat[-1]["role"] == "user") for chat in chats)
    except InputError:
        return ""
    return functools.reduce(lambda kept, word: kept.replace(word, "\n"), _WORDS, text)


def _split(mark: re.Match[str]) -> str:
    text = mark[0]
    at = len(text) - len(text.lstrip()) + 1
    return f"{text[:at]} {text[at:]}"
