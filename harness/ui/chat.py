"""The chat page: talk with a variant, ask again, or compare two variants blind and send the pair to raters.

What one talks about is called as the newest evaluation calls it: a scene of a film, a question, a document.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from harness.doors.answers import part_thinking
from harness.errors import ScreentestError
from harness.reporting.looks import log_look
from harness.reporting.numbers import write_count
from harness.store.tracking import Tracking
from harness.types import Message, Prompt
from harness.ui.chat_pairs import Pair, make_pair, study_of
from harness.ui.drawing import draw_card, draw_line, draw_scene, inert, last_speaker
from harness.ui.frame import store
from harness.ui.scenes import SCENE, Scenes, own_scene, scene_title, scenes_of_test
from harness.ui.speakers import LocalSpeakers, ServedSpeakers, Speakers, find_endpoint

DEFAULT_TOKENS, MAX_TOKENS = 64, 512
Asked = Mapping[str, str | None]  # variant -> its system message
Offered = Sequence[tuple[str, str]]  # (variant, line) in the order shown; names are not
CURSOR = "▍"


@dataclass(slots=True)
class Play:
    """One conversation as it goes."""

    scene: Prompt
    answerer: str
    partner: str
    turns: list[Message] = field(default_factory=list)
    offered: Offered | None = None
    told: str = ""  # after a choice: who was who

    @property
    def is_answer_due(self) -> bool:
        """Whether the variant speaks next."""
        return self.turns[-1].role == "user" and self.offered is None


def show() -> None:
    """The page."""
    st.title("Chat")
    try:
        speakers = _speakers()
        names = speakers.names()
    except ScreentestError as err:
        st.error(str(err))
        return
    left, right = st.columns([1, 2], gap="large")
    with left:
        asked, n_tokens = _ask_variants(names)
        st.html(f'<p class="read quiet">Replies come from {inert(speakers.where)}.</p>')
        found = _scenes(str(Tracking().settings.home))
        play = _ask_scene(found)
        _basket("Which line belongs in this scene?" if found.noun == SCENE else "Which reply is better?")
    with right:
        if play is None:
            st.info(f"Choose a {found.noun}, or begin one of your own.")
            return
        try:
            systems = {name: speakers.system_of(name, found.system) for name in asked}
            for name, system in systems.items():
                st.html(f'<p class="read quiet">{inert(_asked_with(name, system))}</p>')
            _play(play, speakers, systems, n_tokens)
        except ScreentestError as err:
            st.error(str(err))


def _speakers() -> Speakers:
    url = find_endpoint()
    return _local() if url is None else ServedSpeakers(url)


@st.cache_resource(show_spinner="Loading the embedded model")
def _local() -> LocalSpeakers:
    return LocalSpeakers(Tracking())


def _ask_variants(names: list[str]) -> tuple[list[str], int]:
    is_alone = len(names) < 2
    why = "It takes a second variant: an adapter in the registry, or behind the endpoint." if is_alone else None
    is_blind = st.toggle("Compare two variants blind", key="is-blind", disabled=is_alone, help=why)
    first = st.selectbox("Variant", names, index=min(1, len(names) - 1), key="variant")
    asked = [first]
    if is_blind:
        others = [name for name in names if name != first]
        asked.append(st.selectbox("against", others, key="opponent"))
    n_tokens = st.slider("New tokens", 16, MAX_TOKENS, DEFAULT_TOKENS, step=16, key="tokens")
    return asked, int(n_tokens)


def _asked_with(name: str, system: str | None) -> str:
    return f"{name} is asked with {'no system message.' if system is None else f'this system message: {system}'}"


def _ask_scene(found: Scenes) -> Play | None:
    scenes, own = found.prompts, f"A {found.noun} of your own"
    chosen = st.selectbox(
        found.noun.capitalize(), [None, *range(len(scenes))], index=1 if scenes else 0, key="scene",
        format_func=lambda i: own if i is None else scene_title(scenes[i]),
    )  # fmt: skip
    if chosen is None:
        _ask_own(found)
    else:
        _look(found)
        if st.session_state.get("played") != scenes[chosen].id:
            spoken = scenes[chosen].messages
            _begin(scenes[chosen], answerer=last_speaker(spoken, "assistant"), partner=last_speaker(spoken, "user"))
    play: Play | None = st.session_state.get("play")
    return play


@st.cache_data(show_spinner=False)
def _scenes(home: str) -> Scenes:
    return scenes_of_test(Tracking())


def _look(scenes: Scenes) -> None:
    """Playing held-out prompts is one look at TEST a session, on record and told."""
    if scenes.prepared is None:
        return
    if "chat_look" not in st.session_state:
        seen = {"session": secrets.token_hex(8)}
        st.session_state.chat_look = log_look(Tracking(), scenes.prepared, through="chat", seen=seen)
    st.caption(st.session_state.chat_look.said)


def _ask_own(found: Scenes) -> None:
    with st.form("own", border=False):
        partner, answerer = "", ""
        if found.noun == SCENE:
            partner, answerer = st.text_input("You speak as", value="ANN"), st.text_input("to", value="BEN")
        line = st.text_area("and say first" if found.noun == SCENE else "You say first")
        if st.form_submit_button("Begin"):
            try:
                own = own_scene(partner=partner, line=line)
                _begin(own, answerer=answerer.strip(), partner=partner.strip())
            except ScreentestError as err:
                st.error(str(err))


def _begin(scene: Prompt, *, answerer: str, partner: str) -> None:
    st.session_state.played = scene.id
    st.session_state.play = Play(scene=scene, answerer=answerer, partner=partner, turns=list(scene.messages))


def _play(play: Play, speakers: Speakers, asked: Asked, n_tokens: int) -> None:
    st.html(draw_scene(play.turns))
    if play.told:
        st.caption(play.told)
    if play.is_answer_due:
        _answer(play, speakers, asked, n_tokens)
    if play.offered is not None:
        _offer(play, play.offered)
        return
    with st.container(key="tools", horizontal=True):
        st.button("Ask again", key="again", shortcut="g", on_click=_take_back, args=(play,))
        st.button("Begin anew", key="anew", type="tertiary", on_click=_restart, args=(play,))
    said = st.chat_input(f"{play.partner} says …" if play.partner else "You say …", key="said")
    if said and said.strip():
        play.turns.append(Message(role="user", content=said.strip(), name=play.partner or None))
        play.told = ""
        st.rerun()


def _answer(play: Play, speakers: Speakers, asked: Asked, n_tokens: int) -> None:
    """Ask for the next line: streamed where one variant speaks, held back until both are there where two do."""
    seed = secrets.randbelow(2**31)
    streams = {
        name: speakers.stream(name, play.turns, system=system, n_tokens=n_tokens, seed=seed)
        for name, system in asked.items()
    }
    if len(streams) == 1:
        place, text = st.empty(), ""
        # Closed at once when the page is left half-way: the variant may be wanted by another session.
        with contextlib.closing(*streams.values()) as pieces:
            for piece in pieces:
                text += piece
                place.html(draw_line(_said(play, part_thinking(text).text + CURSOR)))
        play.turns.append(_said(play, part_thinking(text).text))
    else:
        with st.spinner("Two variants are thinking"):
            lines = [(name, part_thinking("".join(pieces)).text) for name, pieces in streams.items()]
        play.offered = lines if secrets.randbelow(2) else lines[::-1]
    st.rerun()


def _offer(play: Play, offered: Offered) -> None:
    """Two lines without their names; the chosen one goes on in the scene."""
    lines = enumerate((line for _, line in offered), start=1)
    cards = "".join(draw_card(f"Reply {n}", inert(line) or "(says nothing)") for n, line in lines)
    st.html(f'<div class="read replies">{cards}</div>')
    with st.container(key="choices", horizontal=True):
        for n in (0, 1):
            label = f"Go on with reply {n + 1}"
            st.button(label, key=f"choose-{n}", shortcut=str(n + 1), on_click=_choose, args=(play, offered, n))
        pair = make_pair(play.scene.cluster, play.turns, offered)
        st.button("Send the pair to raters", key="send", type="tertiary", shortcut="p", on_click=_send, args=(pair,))
        st.button("Ask again", key="again", type="tertiary", shortcut="g", on_click=_take_back, args=(play,))


def _choose(play: Play, offered: Offered, number: int) -> None:
    if play.offered is None:  # pressed twice
        return
    (one, _), (two, _) = offered
    chosen, line = offered[number]
    play.told = f"Reply 1 was {one}, reply 2 was {two}. You went on with {chosen}."
    play.turns.append(_said(play, line))
    play.offered = None


def _send(pair: Pair) -> None:
    if pair not in _kept():  # sent twice is sent once
        _kept().append(pair)


def _take_back(play: Play) -> None:
    """Drop the variant's last line, so that it is asked again with another seed."""
    play.offered, play.told = None, ""
    if len(play.turns) > len(play.scene.messages) and play.turns[-1].role == "assistant":
        play.turns.pop()


def _restart(play: Play) -> None:
    play.turns, play.offered, play.told = list(play.scene.messages), None, ""


def _kept() -> list[Pair]:
    kept: list[Pair] = st.session_state.setdefault("pairs", [])
    return kept


def _basket(question: str) -> None:
    """Pairs sent so far, and the study that can be made of them."""
    kept = _kept()
    if not kept:
        return
    with st.form("study"):
        st.markdown(f"**{write_count(len(kept), 'pair')} for raters**")
        name = st.text_input("Name of the study", value="chat-pairs")
        asked = st.text_input("Question to raters", value=question)
        raters = st.number_input("Raters", 1, 50, 3)
        rehearsal = st.checkbox("Rehearsal: enters no result")
        is_sent = st.form_submit_button("Make the study", disabled=len(kept) < 2, help="From two pairs on.")
    if not is_sent:
        return
    folder = Tracking().settings.home / "chat"
    try:
        made = study_of(
            store(), kept, name=name, question=asked, raters=int(raters), folder=folder, rehearsal=rehearsal
        )
    except ScreentestError as err:
        st.error(str(err))
        return
    st.session_state.pairs = []
    st.success("Made. These links are shown once:")
    st.code("\n".join(f"{link.rater}  {link.url('http://localhost:8501')}" for link in made.links), language=None)


def _said(play: Play, text: str) -> Message:
    return Message(role="assistant", content=text, name=play.answerer or None)
