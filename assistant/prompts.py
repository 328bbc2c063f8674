"""The published prompt strings: codes written out, task templates, base-model prompts, and the parts of a reply.

These are the strings of AnyGPT's scripts, defects and spelling included, since the checkpoints were trained on them.
A conversation's own layout is in conversation.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from assistant.vocabulary import MARKUP, REPLY_ENDS, USER_END, USER_NAME, deinterleave_music, interleave_music

MUSIC_CODEBOOK_SIZE = 2048  # of the published Encodec 32 kHz
ASSISTANT_NAME = "[MMGPT]"
REPLY_END = REPLY_ENDS[0]

TASKS = {
    "Multimodal Prompt Image Generation": "{image1} {instruction} Please generation an image.",
    "Image Conversation": "{image} {question}",
    "Multi-Image Understanding": "This is the first image. {image1} This is the second image. {image2} {question}",
    "Image Captioning": "{image} Please provide an accurate and concisedescription of the given image.",
    "Image QA": "{image} {question} Please provide an accurate answer consisting of only one word or phrase.",
    "Text-to-Speech": "{caption} Please read the given text.",
    "Speech-to-Text": "{speech} Please transcribe the given speech.",
    "Speech-Instruction": "{speech} Please recognize the voice command and give reply and voice",
    "Speech-Response": "<-Ins-> {instruction}\n <-Res-> {response}",
    "Text-Response": "{text_output}",
    "Text-to-Music": "{caption} Please compose a piece of music from the given text.",
    "Music-to-Text": "{music} Please interpret the given music and provide a textual description.",
    "Image-to-Text Caption": "{image} Please describe the picture briefly.",
    "Text-to-Image Generation": "{caption} Please generation an image.",
    "Text-Instruction": "{text_input} Please interpret the user's text input, create a textual response.",
    "Text-Text-Response": "{text_input}<eot>\n{text_output}",
    "Text-Speech-Response": "{text_output}\n{speech_output}",
    "Speech-Instruction-Speech": (
        "{speech} Please interpret the user's voice commands, provide text responses, "
        "and generate corresponding voice replies"
    ),
    "Speech-Response-Speech": "{text_output}<eot>\n{speech_output}",
    "Speech-Instruction-Text": "{speech} Please interpret the user's voice commands, provide text responses.",
}
"""Templates by task. Those that `instruction_prompt` does not use made training data."""

ONE_SHOT = {
    "plain": {
        "say": "can you say {text}",
        "draw": "draw {text}",
        "compose": "play {text}",
        "describe image": "what is this",
        "describe music": "what music is this",
    },
    "instruct": {
        "say": TASKS["Text-to-Speech"].replace("{caption}", "{text}"),
        "compose": TASKS["Text-to-Music"].replace("{caption}", "{text}"),
        "describe image": TASKS["Image-to-Text Caption"].removeprefix("{image} "),
        "describe music": TASKS["Music-to-Text"].removeprefix("{music} "),
    },
}
"""What the user says for a task, to a model that talks in everyday words and to the published chat model: one_shot."""

BASE_INSTRUCTIONS = {
    "say": "Would you kindly read this text out loud so that I can hear it?",
    "transcribe": "Provide a textual representation of the spoken content.",
    "draw": "Depict the essence of this text visually.",
    "compose": "Create a musical piece that captures the essence of this caption.",
    "describe image": "Provide a brief description of the contents of this picture.",
    "describe music": "Describe the melody and rhythm of this music.",
}
"""One of the base model's own instructions for each task. Its scripts pick one of a hundred or so at random."""

_SEED_BENCH = {
    **dict.fromkeys(range(1, 17), "one image"),
    **dict.fromkeys(range(17, 19), "two images"),
    **dict.fromkeys(range(19, 23), "four frames"),
    **dict.fromkeys(range(23, 25), "images in the text"),
    26: "seven frames",
    **dict.fromkeys((25, 27), "text"),
}


def code_string(modality: Literal["image", "speech"], codes: Iterable[int]) -> str:
    """Codes of one picture or utterance as the model reads them: `<sosp><🗣️12><🗣️7><eosp>`."""
    markup = MARKUP[modality]
    return markup.start + "".join(markup.code(code) for code in codes) + markup.end


def music_string(codes: Sequence[Sequence[int]], codebook_size: int = MUSIC_CODEBOOK_SIZE) -> str:
    """Music codes [codebook][frame] as the model reads them, frame by frame."""
    markup = MARKUP["music"]
    return markup.start + "".join(markup.code(code) for code in interleave_music(codes, codebook_size)) + markup.end


def music_codes(string: str, codebook_size: int = MUSIC_CODEBOOK_SIZE) -> list[list[int]]:
    """The inverse of music_string: codes [codebook][frame], an incomplete last frame dropped."""
    return deinterleave_music([int(code) for code in re.findall(r"\d+", string)], codebook_size)


def interleaved(
    instruction: str, images: Sequence[str] = (), speech: Sequence[str] = (), music: Sequence[str] = ()
) -> str:
    """A chat message of several modalities: images, music, speech, text. Any speech makes it a spoken command."""
    message = "".join(part + " " for part in (*images, *music, *speech)) + instruction
    return TASKS["Speech-Instruction"].format(speech=message) if speech else message


def instruction_prompt(
    task: str,
    instruction: str,
    images: Sequence[str] = (),
    speech: Sequence[str] = (),
    music: Sequence[str] = (),
    question_type: int = 0,
) -> str:
    """What the user's message reads for a task; images, speech and music are strings of codes.

    Tasks without a template at inference give the instruction unchanged. question_type is Seed-Bench's. KeyError for
    tasks that the original names but has no template for; ValueError for an unknown question type.
    """
    match task:
        case "interleaved":
            return interleaved(instruction, images, speech, music)
        case "Seed-Bench":
            return _seed_bench(question_type, instruction, images)
        case "Text-to-Image Generation":
            sentence = instruction if instruction.endswith((".", "!", "?")) else instruction + "."
            return TASKS[task].format(caption=sentence)
        case "Multimodal Prompt Image Generation":
            return TASKS[task].format(image1=images[0], instruction=instruction)
        case "Multi-Image Understanding":
            return TASKS[task].format(image1=images[0], image2=images[1], question=instruction)
        case "Image Conversation" | "Image QA" | "Image Captioning":
            return TASKS[task].format(image=images[0], question=instruction)
        case "Speech-Instruction" | "Speech-Instruction2" | "Speech-Instruction-Speech" | "Speech-Instruction-Text":
            return TASKS[task].format(speech=speech[0])
        case "Text-Instruction" | "Text-Instruction2":
            return TASKS[task].format(text_input=instruction)
        case "Text-to-Music Generation":
            return TASKS[task].format(caption=instruction)
        case _:
            return instruction


def one_shot(style: Literal["plain", "instruct"], verb: str, text: str) -> str:
    """The user's message for a task; what he shows or plays stands before it."""
    if style == "instruct" and verb == "draw":
        return instruction_prompt("Text-to-Image Generation", text)
    return ONE_SHOT[style][verb].format(text=text)


def _seed_bench(question_type: int, instruction: str, images: Sequence[str]) -> str:
    match _SEED_BENCH.get(question_type):
        case "one image":
            return instruction_prompt("Image Conversation", instruction, images)
        case "two images":
            return instruction_prompt("Multi-Image Understanding", instruction, images)
        case "four frames":
            return instruction + "\n" + " ".join(f"{number}.jpg: {image}" for number, image in enumerate(images[:4], 1))
        case "images in the text":
            for image in images:
                instruction = instruction.replace("<img>", image, 1)
            return instruction
        case "seven frames":
            return " ".join([*images[:7], "What will happen next?"])
        case "text":
            return instruction
        case _:
            raise ValueError(f"Seed-Bench has no question type {question_type}")


def base_prompt(instruction: str, content: str, *, from_text: bool) -> str:
    """A prompt of the base model: one of its instructions, then text (`This is input: ...`) or a string of codes."""
    return f"{USER_NAME}: {instruction} {'This is input: ' if from_text else ''}{content}{USER_END} {ASSISTANT_NAME}:"


def base_sample(instruction: str, content: str, output: str, *, from_text: bool) -> str:
    """A training sample of the base model: the prompt and its answer."""
    return f"{base_prompt(instruction, content, from_text=from_text)} {output}{REPLY_END}"


def base_free_prompt(content: str) -> str:
    """A prompt of the base model whose content holds its own instruction."""
    return f"{USER_NAME}: {content}{USER_END}{ASSISTANT_NAME}: "


def between_first(text: str, start: str, end: str) -> str:
    """What stands between the first start mark and the next end mark, stripped.

    Without that, or with nothing between, all that follows the start mark; without a start mark, the whole text.
    """
    at = text.find(start)
    if at < 0:
        return text
    rest = text[at + len(start) :]
    inside, found, _ = rest.partition(end)
    return inside.strip() or rest if found else rest


def between_last(text: str, start: str, end: str) -> str | None:
    """What stands between the last start mark and the last end mark; None where that is nothing of the kind."""
    first, last = text.rfind(start), text.rfind(end)
    return text[first + len(start) : last] if 0 <= first < last else None
