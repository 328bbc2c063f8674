"""A conversation as the model reads it: as strings, in the published templates, and as tokens, turn by turn.

A dialogue reads, in template MMGPT,

    SYSTEM \\n
    [Human]: <sosp>...<eosp>  Please recognize the voice command and give reply and voice<eoh> \\n
    [MMGPT]: <-Ins-> what was heard <-Res-> what is answered <sosp>...<eosp><eos> \\n
    [Human]: <soim>...<eoim> what was typed about a picture<eoh> \\n
    [MMGPT]: what is answered <sosp>...<eosp><soim>...<eoim><eos> \\n
    [Human]: ...

Its tokens are the plain concatenation of `system_tokens` and, turn by turn, `user_turn_tokens` and
`assistant_turn_tokens`; they equal the tokens of the whole string. Where the newlines belong: the system line owns the
one after it; a user's turn ends with `[MMGPT]:`, where generation starts; an assistant's turn is what was generated, up
to <eos>, and then a newline (`turn_end`). So a prompt, the tokens generated, `turn_end` and the next user's turn are a
prompt again, and what is cached stays valid.

Pictures and music are segments (`<soim>...<eoim>`, `<somu>...<eomu>`) that are known apart from the words: those that
the user shows stand before his words (`shown`), those that the assistant makes behind its own (`with_made`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from assistant.prompts import interleaved
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import MARKUP, USER_END, USER_NAME, Vocabulary

SYSTEM = (
    "You are an AI assistant named {name} who can understand and generate multimodal content, "
    "including text, speech, images and audio."
)

DARK = "(The camera sees nothing: it is dark.)"
"""What the model is told beside the words of a user whose camera is covered."""


@dataclass(frozen=True, slots=True)
class Template:
    """Names and ends of the two sides of a conversation."""

    system: str
    user: str
    assistant: str
    user_end: str
    assistant_end: str | None


TEMPLATES = {
    "MMGPT": Template(SYSTEM.format(name="MMGPT"), USER_NAME, "[MMGPT]", USER_END, "<eos>"),
    "AnyGPT": Template(SYSTEM.format(name="AnyGPT"), USER_NAME, "[AnyGPT]", USER_END, "<eom>"),
    "raw": Template("", "", "", "", None),
}
"""The published chat scripts talk in MMGPT, the fine-tuning script writes AnyGPT; the chat model knows both."""


def history_string(template: Template, messages: Sequence[str | None]) -> str:
    """The conversation so far. Messages alternate, the user's first; an assistant's None is still to come."""
    lines = [template.system] if template.system else []
    for index, message in enumerate(messages):
        name, end = (template.assistant, template.assistant_end) if index % 2 else (template.user, template.user_end)
        speaker = f"{name}:" if name else ""
        lines.append(speaker if message is None else f"{speaker} {message}{end or ''}".lstrip(" "))
    return "\n".join(lines)


def prompt_string(
    template: Template,
    messages: Sequence[str | None],
    *,
    force: Literal["image", "speech", "music"] | None = None,
    reply_prefix: str = "",
) -> str:
    """The history and, after a user's message, the assistant's name; `reply_prefix` and `force` begin the reply."""
    history = history_string(template, messages)
    if len(messages) % 2 == 0:
        return history
    opening = f"\n{template.assistant}:" if template.assistant else "\n"
    return history + " ".join([opening, *filter(None, [reply_prefix, MARKUP[force].start if force else ""])])


class Dialogue:
    """Writes turns as tokens, for training and for answering alike. The head of this file says how they join.

    What people typed or said is tokenized as plain text: it cannot pose as a mark of the dialogue.
    """

    def __init__(
        self, tokenizer: TextTokenizer, vocabulary: Vocabulary, template: Template = TEMPLATES["MMGPT"]
    ) -> None:
        if template.assistant_end is None:
            raise ValueError("a dialogue needs a template with names and ends, not raw")
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.template = template
        self.assistant = vocabulary[template.assistant]
        self.reply_end = vocabulary[template.assistant_end]
        self.turn_end = tokenizer.encode_plain("\n")
        self._colon = tokenizer.encode_plain(":")

    def system_tokens(self, instructions: str = "") -> list[int]:
        """<s> and the system line with its newline. instructions replace the model's own line."""
        plain = self.tokenizer.encode_plain((instructions.strip() or self.template.system) + "\n")
        return [self.tokenizer.bos, *plain]

    def user_turn_tokens(
        self, speech_codes: Iterable[int] | None = None, text: str = "", *, shown: bool = False
    ) -> list[int]:
        """`[Human]: ...<eoh>\\n[MMGPT]:` of typed text, or of speech and perhaps a text beside it.

        Speech is followed by the published request for a spoken reply. shown: pictures or music go before the words,
        which are then tokenized apart from the name; `with_shown` puts them there.
        """
        words = self.vocabulary
        if speech_codes is None and shown:
            content = [*self.tokenizer.encode_plain(": "), *self.tokenizer.encode_plain(f" {text}")]
        elif speech_codes is None:
            content = self.tokenizer.encode_plain(f": {text}")
        else:
            request = interleaved(text, speech=[""])
            content = [
                *self.tokenizer.encode_plain(": "),
                *words.speech.segment(speech_codes),
                *self.tokenizer.encode_plain(request),
            ]
        return [words.user, *content, words.user_end, *self.turn_end, self.assistant, *self._colon]

    def with_shown(self, turn: Sequence[int], segments: Sequence[Sequence[int]]) -> list[int]:
        """A user's turn with pictures and music before its words."""
        space, opening = self.tokenizer.encode_plain(" "), self.tokenizer.encode_plain(": ")
        if list(turn[1 : 1 + len(opening)]) != opening:  # typed, and not as if something were shown
            opening = self._colon
        before, words = list(turn[: 1 + len(opening)]), list(turn[1 + len(opening) :])
        for number, segment in enumerate(segments):
            before += [*(space if number else ()), *segment]
        return [*before, *(space if words[:1] == [self.vocabulary.speech.start] else ()), *words]

    def to_be_continued(self, turn: Sequence[int]) -> list[int]:
        """A user's turn up to the last picture or music of it: what can be read before the words are known."""
        ends = [modality.end for modality in (self.vocabulary.image, self.vocabulary.music) if modality is not None]
        last = max((place for place, token in enumerate(turn) if token in ends), default=len(turn) - 1)
        return list(turn[: last + 1])

    def assistant_turn_tokens(
        self,
        transcript: str | None,
        text: str,
        speech_codes: Iterable[int] | None = None,
        made: Sequence[Sequence[int]] = (),
    ) -> list[int]:
        """` <-Ins-> transcript <-Res-> text <sosp>...<eosp><eos>` and the newline after it.

        Without a transcript (the user typed) the text stands alone; without speech codes the reply ends after its text,
        or after the pictures and music that were `made`.
        """
        words = self.vocabulary
        reply = f" {text}" if speech_codes is None and not made else f" {text} "
        if transcript is None:
            tokens = self._after_colon(reply)
        else:
            tokens = [
                *self._after_colon(" "),
                words.transcript_mark,
                *self.tokenizer.encode_plain(f" {transcript} "),
                words.reply_mark,
                *self.tokenizer.encode_plain(reply),
            ]
        if speech_codes is not None:
            tokens += words.speech.segment(speech_codes)
        return [*tokens, *(token for segment in made for token in segment), self.reply_end, *self.turn_end]

    def with_made(self, turn: Sequence[int], segment: Sequence[int]) -> list[int]:
        """A whole assistant's turn with one more picture or piece of music at its end."""
        end = [self.reply_end, *self.turn_end]
        assert list(turn[-len(end) :]) == end, "a turn ends with its end"
        return [*turn[: -len(end)], *segment, *end]

    def close(self, generated: Sequence[int]) -> list[int]:
        """Generated tokens, cut off anywhere, as a whole assistant's turn: open speech is ended, the newline added."""
        tokens = list(generated)
        words = self.vocabulary
        speech = words.speech
        starts = {modality.start for modality in (speech, words.image, words.music) if modality is not None}
        while tokens and (tokens[-1] in starts or tokens[-1] in words.reply_ends):
            tokens.pop()
        if tokens and tokens[-1] in speech.tokens:
            tokens.append(speech.end)
        return [*tokens, self.reply_end, *self.turn_end]

    def _after_colon(self, text: str) -> list[int]:
        """Tokens of text as the tokenizer cuts it behind the `:` that the user's turn ends with."""
        tokens = self.tokenizer.encode_plain(":" + text)
        if tokens[: len(self._colon)] != self._colon:
            raise ValueError("the text tokenizer joins ':' with what follows it, so turns cannot be cut there")
        return tokens[len(self._colon) :]
