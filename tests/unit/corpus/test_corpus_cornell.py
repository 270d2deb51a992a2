"""Cornell's layout: every wart of the real files, and an error with file, line and reason for every other fault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from corpora import CONVERSATIONS, LINES, TITLES, cornell_files, refused, zipped

from harness.errors import CorpusError
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.cut_scenes import scenes, with_scenes_joined
from pipelines.corpus.reading import read_corpus


def texts(corpus: Corpus) -> list[str]:
    return [line.text for conversation in corpus.conversations for line in conversation.utterances]


def with_text(text: str) -> tuple[str, ...]:
    """The lines with the text of L2 replaced."""
    return (LINES[0], f"L2 +++$+++ u1 +++$+++ m0 +++$+++ BORIS +++$+++ {text}", *LINES[2:])


class TestPlain:
    def test_a_clean_corpus_is_read_as_it_stands(self, tmp_path: Path) -> None:
        corpus = read_corpus(cornell_files(tmp_path / "ferry"))
        assert corpus.name == "ferry"
        assert corpus.source == "cornell"
        assert [c.id for c in corpus.conversations] == ["m0:L1", "m1:L7"]
        assert corpus.clusters == ("m0", "m1")
        assert corpus.conversations[0].title == "the ferry"
        line = corpus.conversations[0].utterances[1]
        assert (line.id, line.speaker_id, line.speaker, line.text) == ("L2", "u1", "BORIS", "Since noon.")
        assert corpus.films["m0"].genres == ("comedy", "romance")
        assert not corpus.skipped

    def test_the_metadata_files_may_be_missing(self, tmp_path: Path) -> None:
        corpus = read_corpus(cornell_files(tmp_path, titles=None, characters=None))
        assert [c.title for c in corpus.conversations] == ["m0", "m1"]
        assert corpus.seen["no title list"] == 1
        assert corpus.seen["no character list"] == 1

    def test_the_character_list_gives_titles_and_names_that_are_lacking(self, tmp_path: Path) -> None:
        lines = (LINES[0].replace("ANNA", ""), *LINES[1:])
        corpus = read_corpus(cornell_files(tmp_path, lines=lines, titles=None))
        assert corpus.conversations[0].title == "the ferry"
        assert corpus.conversations[0].utterances[0].speaker == "ANNA"
        assert corpus.repaired["speakers named from the character list"] == 1


LINE_WARTS = {
    "tags": ("I said <u>now</u>, <B>Anna</B> <3.", "I said now, Anna <3.", "repaired",
             "lines with <u>, <b> or <i> tags", 1),
    "odd spaces": ("Since\u00a0noon.  At\tleast. ", "Since noon. At least.", "repaired",
                   "lines with doubled or odd spaces", 1),
    "line separators inside a text end no line": ("One\u2028two\x85three", "One two three", "repaired",
                                                  "lines with doubled or odd spaces", 1),
    "soft hyphens": ("Beau\u00adtiful \u00ad\u00ad she was.", "Beautiful -- she was.", "repaired",
                     "lines with soft hyphens", 1),
    "lost characters are kept": ("It\ufffds caf\ufffd.", "It\ufffds caf\ufffd.", "seen",
                                 "characters lost before reading (U+FFFD)", 2),
}  # fmt: skip


class TestWarts:
    def test_windows_1252_with_its_undefined_bytes(self, tmp_path: Path) -> None:
        folder = cornell_files(tmp_path, lines=with_text("X"))
        data = (folder / "movie_lines.txt").read_bytes().replace(b" X\n", b" He\x92s \x97 caf\xe9\x85 \x81\x8d!\n")
        (folder / "movie_lines.txt").write_bytes(data)
        corpus = read_corpus(folder)
        # 0x92 is ’, 0x97 —, 0xe9 é, 0x85 …; 0x81 and 0x8d are undefined, come out as C1 controls and are dropped.
        assert texts(corpus)[1] == "He’s — café… !"
        assert corpus.seen["files read as windows-1252"] == 1
        assert corpus.repaired["undefined bytes read as latin-1"] == 2
        assert corpus.repaired["lines with control characters"] == 1

    def test_utf_8_is_recognised_with_and_without_a_mark(self, tmp_path: Path) -> None:
        read = {
            encoding: read_corpus(
                cornell_files(tmp_path / encoding, lines=with_text("Café — “here”."), encoding=encoding)
            )
            for encoding in ("utf-8", "utf-8-sig", "cp1252")
        }
        assert {texts(corpus)[1] for corpus in read.values()} == {"Café — “here”."}
        assert len({corpus.digest for corpus in read.values()}) == 1
        assert read["utf-8-sig"].repaired["byte order marks removed"] == 4

    def test_utf_16_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="got UTF-16"):
            read_corpus(cornell_files(tmp_path, encoding="utf-16"))

    def test_the_order_of_lines_decides_nothing(self, tmp_path: Path) -> None:
        lines, conversations = list(LINES), list(CONVERSATIONS)
        random.Random(3).shuffle(lines)
        conversations.reverse()
        shuffled = read_corpus(cornell_files(tmp_path / "a", lines=lines, conversations=conversations))
        plain = read_corpus(cornell_files(tmp_path / "b"))
        assert shuffled.conversations == plain.conversations
        assert shuffled.digest == plain.digest

    def test_numbers_in_ids_are_compared_as_numbers(self, tmp_path: Path) -> None:
        lines = [line.replace("m1", "m10").replace("L7", "L10").replace("L8", "L11") for line in LINES]
        lines += [line.replace("m0", "m2").replace("L", "L9") for line in LINES[:3]]
        conversations = [
            CONVERSATIONS[1].replace("m1", "m10").replace("L7", "L10").replace("L8", "L11"),
            CONVERSATIONS[0].replace("m0", "m2").replace("'L", "'L9"),
            CONVERSATIONS[0],
        ]
        folder = cornell_files(tmp_path, lines=lines, conversations=conversations, titles=None, characters=None)
        assert read_corpus(folder).clusters == ("m0", "m2", "m10")

    @pytest.mark.parametrize("ending", ["", " "], ids=["stripped", "whole"])
    def test_an_empty_text_is_not_lost(self, tmp_path: Path, ending: str) -> None:
        lines = (LINES[0], f"L2 +++$+++ u1 +++$+++ m0 +++$+++ BORIS +++$+++{ending}", *LINES[2:])
        corpus = read_corpus(cornell_files(tmp_path, lines=lines))
        assert texts(corpus)[:3] == ["Is the boat in?", "", "Then why are you here?"]
        assert corpus.seen["lines with empty text"] == 1
        assert corpus.repaired.get("empty last fields restored", 0) == (1 if ending == "" else 0)

    @pytest.mark.parametrize(("text", "read", "where", "reason", "n"), LINE_WARTS.values(), ids=LINE_WARTS)
    def test_a_line(self, tmp_path: Path, text: str, read: str, where: str, reason: str, n: int) -> None:
        corpus = read_corpus(cornell_files(tmp_path, lines=with_text(text)))
        assert texts(corpus)[1] == read
        assert getattr(corpus, where)[reason] == n

    def test_years_with_a_numeral(self, tmp_path: Path) -> None:
        titles = (TITLES[0], TITLES[1].replace("1994", "unknown"))
        corpus = read_corpus(cornell_files(tmp_path, titles=titles))
        assert corpus.films["m0"].year == 1989
        assert corpus.films["m1"].year is None
        assert corpus.repaired["years like 1989/I read as the year alone"] == 1
        assert corpus.seen["films without a year"] == 1

    def test_a_scene_cut_in_two_is_counted_kept_and_can_be_joined(self, tmp_path: Path) -> None:
        lines = (*LINES, "L4 +++$+++ u1 +++$+++ m0 +++$+++ BORIS +++$+++ To see you off.",
                 "L5 +++$+++ u0 +++$+++ m0 +++$+++ ANNA +++$+++ I am not going.",
                 "L9 +++$+++ u2 +++$+++ m1 +++$+++ CLEO +++$+++ Burn it.")  # fmt: skip
        # m0: same pair, next line: one scene. m1: next line, but another pair (u2 alone).
        conversations = (*CONVERSATIONS, "u1 +++$+++ u0 +++$+++ m0 +++$+++ ['L4', 'L5']",
                         "u2 +++$+++ u2 +++$+++ m1 +++$+++ ['L9']")  # fmt: skip
        corpus = read_corpus(cornell_files(tmp_path, lines=lines, conversations=conversations))
        assert len(corpus.conversations) == 4
        assert corpus.seen["conversations that continue the one before (a scene cut in two)"] == 1
        assert [len(scene) for scene in scenes(corpus.conversations)] == [2, 1, 1]
        joined = with_scenes_joined(corpus)
        assert [c.id for c in joined.conversations] == ["m0:L1", "m1:L7", "m1:L9"]
        assert [line.id for line in joined.conversations[0].utterances] == ["L1", "L2", "L3", "L4", "L5"]


class TestContainers:
    def test_the_digest_knows_content_alone(self, tmp_path: Path) -> None:
        folder = cornell_files(tmp_path / "here")
        plain = read_corpus(folder)
        flat = read_corpus(zipped(folder, tmp_path / "flat.zip"))
        nested = read_corpus(zipped(folder, tmp_path / "nested.zip", inside="cornell movie-dialogs corpus"))
        outer = read_corpus(tmp_path)
        assert plain.digest == flat.digest == nested.digest == outer.digest
        assert plain.conversations == nested.conversations

    def test_the_digest_changes_with_any_field(self, tmp_path: Path) -> None:
        changed = (("noon.", "noon!"), ("BORIS", "BORYS"), ("u1", "u9"), ("ferry", "barge"), ("", ""))
        digests = set()
        for old, new in changed:
            lines, titles = ([text.replace(old, new) for text in file] for file in (LINES, TITLES))
            digests.add(read_corpus(cornell_files(tmp_path / new, lines=lines, titles=titles)).digest)
        assert len(digests) == len(changed)

    def test_what_macos_adds_to_a_zip_is_passed_over(self, tmp_path: Path) -> None:
        folder = cornell_files(tmp_path / "here")
        digest = read_corpus(folder).digest
        (folder / "__MACOSX").mkdir()
        (folder / "__MACOSX" / "movie_lines.txt").write_bytes(b"\x00\x05\x16\x07")
        (folder / "._movie_lines.txt").write_bytes(b"\x00\x05\x16\x07")
        assert read_corpus(folder).digest == digest


LINE_FAULTS = {
    "four fields": ((*LINES, "L9 +++$+++ u3 +++$+++ m1 +++$+++ DEV"), 6, "must have 5 fields .* got 4",
                    "movie_lines.txt: wrong number of fields"),
    "six fields": ((*LINES, "L9 +++$+++ u3 +++$+++ m1 +++$+++ DEV +++$+++ a +++$+++ b"), 6, "got 6",
                   "movie_lines.txt: wrong number of fields"),
    "id given twice": ((*LINES, LINES[0]), 6, "must be given once, got `L1`", "line id given twice"),
    "film of lines alone": ((*LINES, "L9 +++$+++ u3 +++$+++ m7 +++$+++ DEV +++$+++ Hm."), 6,
                            "must have a conversation, got none for `m7`", "film with no conversation"),
}  # fmt: skip
CONVERSATION_FAULTS = {
    "line that is not there": ("u2 +++$+++ u3 +++$+++ m1 +++$+++ ['L99', 'L8']", "got `L99`, which is not",
                               "conversation names a line that is not there"),
    "no list": ("u2 +++$+++ u3 +++$+++ m1 +++$+++ L7 L8", "must list its line ids, got `L7 L8`",
                "conversation names no line"),
    "empty list": ("u2 +++$+++ u3 +++$+++ m1 +++$+++ []", "must list its line ids", "conversation names no line"),
    "three fields": ("u2 +++$+++ m1 +++$+++ ['L7', 'L8']", "must have 4 fields .* got 3",
                     "movie_conversations.txt: wrong number of fields"),
    "line twice": ("u2 +++$+++ u3 +++$+++ m1 +++$+++ ['L7', 'L7']", "must name a line once",
                   "conversation names a line twice"),
    "line of another": ("u2 +++$+++ u3 +++$+++ m1 +++$+++ ['L7', 'L2']", "must be in one conversation, got `L2`",
                        "line in two conversations"),
}  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize(("lines", "number", "reason", "kind"), LINE_FAULTS.values(), ids=LINE_FAULTS)
    def test_lines(self, tmp_path: Path, lines: tuple[str, ...], number: int, reason: str, kind: str) -> None:
        corpus = refused(cornell_files(tmp_path, lines=lines), reason, "movie_lines.txt", number)
        assert corpus.skipped == {kind: 1}
        assert len(corpus.conversations) == 2

    @pytest.mark.parametrize(("row", "reason", "kind"), CONVERSATION_FAULTS.values(), ids=CONVERSATION_FAULTS)
    def test_conversations(self, tmp_path: Path, row: str, reason: str, kind: str) -> None:
        folder = cornell_files(tmp_path, conversations=(CONVERSATIONS[0], row))
        corpus = refused(folder, reason, "movie_conversations.txt", 2)
        assert corpus.skipped == {kind: 1, "film with no conversation": 1}
        assert [c.id for c in corpus.conversations] == ["m0:L1"]

    def test_a_film_with_no_conversation(self, tmp_path: Path) -> None:
        titles = (TITLES[0], "m5 +++$+++ silence +++$+++ 1999 +++$+++ 5 +++$+++ 1 +++$+++ []", TITLES[1])
        folder = cornell_files(tmp_path, titles=titles)
        corpus = refused(folder, "got none for `m5`", "movie_titles_metadata.txt", 2)
        assert corpus.skipped == {"film with no conversation": 1}
        assert "m5" not in corpus.films

    @pytest.mark.parametrize("name", ["movie_lines.txt", "movie_conversations.txt"])
    def test_a_missing_file(self, tmp_path: Path, name: str) -> None:
        folder = cornell_files(tmp_path)
        (folder / name).unlink()
        for lenient in (False, True):
            with pytest.raises(CorpusError, match="the file must be there, got only `movie_") as caught:
                read_corpus(folder, lenient=lenient)
            assert caught.value.file.endswith(name)

    def test_an_empty_corpus(self, tmp_path: Path) -> None:
        folder = cornell_files(tmp_path, lines=(), conversations=(), titles=())
        for lenient in (False, True):
            with pytest.raises(CorpusError, match="at least one conversation, got none"):
                read_corpus(folder, lenient=lenient)
