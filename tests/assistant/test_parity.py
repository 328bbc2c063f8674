"""The published checkpoints' formats, reproduced: every golden folder of PARITY_DIR against this code.

Sizes, lengths and case names come from the golden files, so any folder of the same layout must pass.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from assistant import prompts
from assistant.checkpoints import load_soundstorm, load_speech_tokenizer
from assistant.conversation import TEMPLATES, Dialogue, history_string, prompt_string
from assistant.tokenizers.image import ImageEyes, load_seed, normalized
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import MARKUP, MUSIC_CODEBOOKS, Vocabulary
from tests.assistant.parity import golden


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance


# ---- SpeechTokenizer


@pytest.fixture(scope="module", params=["speechtokenizer_elu", "speechtokenizer_snake"])
def codec(request):
    folder = golden(request.param)
    model = load_speech_tokenizer(folder / "config.json", folder / "weights.safetensors")
    return model, load_file(folder / "io.safetensors")


@torch.inference_mode()
def test_speech_encoding(codec):
    model, io = codec
    cases = [key.removesuffix(".wav") for key in io if key.endswith(".wav")]
    assert cases
    for case in cases:
        latent = model.encoder(io[f"{case}.wav"])
        assert_close(latent, io[f"{case}.encoder_out"], 1e-3)
        assert torch.equal(model.encode(io[f"{case}.wav"]), io[f"{case}.codes"])


@torch.inference_mode()
def test_speech_decoding(codec):
    model, io = codec
    for key in [key for key in io if key.endswith(".codes")]:
        case = key.removesuffix(".codes")
        assert_close(model.decode(io[key]), io[f"{case}.decoded"], 1e-4)
    codes = io["main.codes"]
    assert_close(model.decode(codes[:1]), io["main.decoded_semantic_only"], 1e-4)
    assert_close(model.decode(codes[1:], st=1), io["main.decoded_layers_1_on"], 1e-4)


@torch.inference_mode()
def test_speech_codebooks_one_by_one(codec):
    model, io = codec
    wav = io["main.wav"]
    partial = [key for key in io if re.search(r"codes_(st\d+_)?nq\d+$", key)]
    assert partial
    for key in partial:
        st, n_q = re.search(r"codes_(?:st(\d+)_)?nq(\d+)$", key).groups(default="0")
        assert torch.equal(model.encode(wav, n_q=int(n_q), st=int(st)), io[key])
    codes, contributions = model.quantizer(io["main.encoder_out"])
    assert_close(contributions, io["main.quantized_per_layer"], 1e-4)
    assert_close(model.quantizer.decode(codes), io["main.quantized_sum"], 1e-4)
    assert_close(model.decoder(model.quantizer.decode(codes)), io["main.forward_out"], 1e-4)
    assert_close(model.semantic_features(wav), io["main.feature_layer0"], 1e-3)


# ---- SoundStorm


@pytest.fixture(scope="module", params=["soundstorm"])
def voice(request):
    folder = golden(request.param)
    model = load_soundstorm(folder / "config.json", folder / "weights.safetensors")
    return model, load_file(folder / "io.safetensors")


@torch.inference_mode()
def test_soundstorm_network(voice):
    model, io = voice
    tokens, semantic = io["net.tokens"], io["net.cond_tokens"]
    embeds = model.embeds(tokens, model.semantic_embedding(semantic))
    assert_close(embeds.flatten(1, 2), io["net.embeds"], 1e-4)
    assert_close(model(tokens, semantic), io["net.logits"], 1e-3)
    assert_close(model(tokens, semantic, io["net.padmask"].bool()), io["net.logits_padmask"], 1e-3)


def test_soundstorm_generation(voice):
    model, io = voice
    cases = [key for key in io if key.startswith("generate.steps")]
    assert cases
    for case in cases:
        levels = re.search(r"_(\d+)levels", case)
        grid = model.generate(
            io["semantic_tokens"],
            io["prompt_tokens"] if "_prompt" in case else None,
            steps=int(re.search(r"steps(\d+)", case)[1]),
            full_sampling_levels=int(levels[1]) if levels else 1,
            noise=torch.zeros if "_nonoise" in case else None,
        )
        assert torch.equal(grid[..., 1:] if "_nosemantic" in case else grid, io[case]), case


def test_soundstorm_trace(voice, monkeypatch):
    model, io = voice
    traces = [key.removesuffix(".net_inputs") for key in io if key.endswith(".net_inputs")]
    assert traces
    grids, embeds = [], model.embeds

    def recorded(tokens, *rest, **named):
        grids.append(tokens)
        return embeds(tokens, *rest, **named)

    monkeypatch.setattr(model, "embeds", recorded)
    for trace in traces:
        grids.clear()
        batch = io[f"{trace}.output"].shape[0]
        grid = model.generate(
            io["semantic_tokens"][:batch],
            io["prompt_tokens"][:batch] if "_prompt" in trace else None,
            steps=int(re.search(r"steps(\d+)", trace)[1]),
            noise=torch.zeros,
        )
        assert torch.equal(torch.stack(grids), io[f"{trace}.net_inputs"])
        assert torch.equal(grid, io[f"{trace}.output"])


# ---- SEED-2


@pytest.fixture(scope="module", params=["seed2"])
def eyes(request):
    folder = golden(request.param)
    files = [folder / name for name in ("config.json", "seed_quantizer.safetensors", "eva_vit.safetensors")]
    return load_seed(*files), load_file(folder / "io.safetensors")


@torch.inference_mode()
def test_seed_encoding(eyes):
    model, io = eyes
    embeds = model.image_embeds(io["image"])
    assert_close(embeds, io["image_embeds"], 1e-3)
    queries = model.query_tokens.expand(len(embeds), -1, -1)
    assert_close(model.Qformer(queries, embeds), io["qformer_last_hidden"], 1e-3)
    assert_close(model.latents(embeds), io["query_output_down"], 1e-3)
    assert torch.equal(model.encode(io["image"]), io["codes"])


@torch.inference_mode()
def test_seed_decoding(eyes):
    model, io = eyes
    rows = model.quantize["embedding"](io["codes"])
    assert_close(model.decode_task_layer(rows), io["query_output_up"], 1e-3)
    assert_close(model.decode(io["codes"]), io["image_embedding"], 1e-3)
    assert_close(model.decode(io["random_codes"]), io["random_image_embedding"], 1e-3)


@torch.inference_mode()
def test_seed_preprocessing(eyes):
    model, io = eyes
    cases = [key.removesuffix(".rgb") for key in io if key.endswith(".rgb")]
    assert cases
    for case in cases:
        assert_close(normalized(io[f"{case}.rgb"].numpy(), model.image_size), io[f"{case}.tensor"], 1e-5)
    codes = {ImageEyes(model).look(io[f"{case}.rgb"].numpy()) for case in cases}
    assert codes == {tuple(row) for row in io["preprocess.codes"].tolist()}


# ---- Prompts


@pytest.fixture(scope="module", params=["prompts"])
def published(request):
    folder = golden(request.param)
    return {path.stem: read_json(path) for path in folder.glob("*.json")}


def test_special_strings(published):
    facts, strings = published["facts"], published["facts"]["special_strings"]
    for name, wanted in strings["modality"].items():
        markup = MARKUP[name]
        assert [markup.prefix, markup.start, markup.end] == [wanted[key] for key in ("prefix", "start", "end")]
        assert markup.code(0) == wanted["first_token"]
        assert markup.code(wanted["vocab_size"] - 1) == wanted["last_token"]
    unregistered = strings["audio_defined_but_not_registered"]
    assert [getattr(MARKUP["audio"], key) for key in ("prefix", "start", "end")] == [
        unregistered[key] for key in ("prefix", "start", "end")
    ]
    music = strings["music"]
    assert (prompts.MUSIC_CODEBOOK_SIZE, MUSIC_CODEBOOKS) == (music["codebook_size"], music["codebooks"])
    for name, wanted in facts["conversation_templates"].items():
        template = TEMPLATES[name]
        assert [template.system, template.user, template.assistant, template.user_end, template.assistant_end] == [
            wanted[key] for key in ("system", "user", "assistant", "sep_user", "sep_assistant")
        ]
    assert TEMPLATES["MMGPT"].system == facts["system_prompt_prompter"]
    chat = TEMPLATES["MMGPT"]
    assert [chat.user, chat.assistant, chat.user_end, chat.assistant_end] == [
        strings[key] for key in ("user_name", "chat_name_prompter", "user_end", "chatbot_end_prompter")
    ]


def test_vocabulary_layout(published):
    model = published["vocabulary"]["published_chat_model"]
    added = {}
    for run in model["layout"]:
        markup = MARKUP[run["modality"]] if "modality" in run else None
        names = [markup.code(code) for code in range(run["count"])] if markup else [run["first_token"]]
        assert [names[0], names[-1]] == [run["first_token"], run["last_token"]]
        added |= {name: run["first_id"] + index for index, name in enumerate(names)}
    text_size = model["layout"][0]["first_id"]
    vocabulary = Vocabulary(text_size, added)
    assert vocabulary.size == model["vocab_size"]
    for run in model["layout"]:
        if "modality" in run:
            modality = getattr(vocabulary, run["modality"])
            assert modality.tokens == range(run["first_id"], run["last_id"] + 1)
            assert {vocabulary.kind(run["first_id"]), vocabulary.kind(run["last_id"])} == {run["modality"]}
        else:
            assert vocabulary[run["first_token"]] == run["first_id"]
            assert vocabulary.kind(run["first_id"]) == "mark"


def test_token_strings(published):
    cases = published["cases"]
    for case in cases["token_strings"]:
        if case["modality"] == "music":
            assert prompts.music_string(case["codes"]) == case["string"]
        else:
            assert prompts.code_string(case["modality"], case["codes"]) == case["string"]
    for case in cases["music_string_to_codes"]:
        assert prompts.music_codes(case["string"]) == case["codes"]


def test_task_prompts(published):
    cases = published["cases"]
    upper = {task: re.sub(r"{\w+}", lambda name: name[0].upper(), text) for task, text in prompts.TASKS.items()}
    assert upper == cases["task_templates"]
    for case in cases["instruction_prompts"]:
        given = case["inputs"]
        arguments = [case["task"], *(given[key] for key in ("instruction", "image_list", "speech_list", "music_list"))]
        if "raises" in case:
            with pytest.raises(KeyError) as caught:
                prompts.instruction_prompt(*arguments)
            assert type(caught.value).__name__ == case["raises"]
        else:
            question_type = given.get("question_type_id", 0)
            assert prompts.instruction_prompt(*arguments, question_type=question_type) == case["prompt"]


def test_base_model_prompts(published):
    for case in published["cases"]["base_model_prompts"]:
        match case["call"]:
            case "inference_prompt":
                prompt = prompts.base_prompt(case["instruction"], case["input"], from_text=case["modality"] == "text")
            case "training_x2t":
                parts = case["instruction"], case["modality_string"], case["text"]
                prompt = prompts.base_sample(*parts, from_text=False)
            case "training_t2x":
                parts = case["instruction"], case["text"], case["modality_string"]
                prompt = prompts.base_sample(*parts, from_text=True)
            case "inference_prompt_custom_instructions":
                prompt = prompts.base_free_prompt(case["input"])
        assert prompt == case["prompt"]


def test_conversations(published):
    for case in published["cases"]["conversations"]:
        template, messages = TEMPLATES[case["template"]], [message for _, message in case["messages"]]
        options = dict(case["options"])
        prefix = options.pop("force_res_prefix", "")
        force = next((name for name in ("image", "speech", "music") if options.get(f"force_{name}_generation")), None)
        assert prompt_string(template, messages, force=force, reply_prefix=prefix) == case["prompt"]
        if "history" in case:
            assert history_string(template, messages) == case["history"]


def test_replies_are_parsed(published):
    for case in published["cases"]["response_parsing"]:
        marks = case["tag1"], case["tag2"]
        assert prompts.between_first(case["text"], *marks) == case["between_first"]
        assert prompts.between_last(case["text"], *marks) == case["between_last"]


def test_chat_turns(published):
    template, messages = TEMPLATES["MMGPT"], []
    for turn in published["chat_turns"]["turns"]:
        messages.append(turn["user_prompt"])
        assert prompt_string(template, messages) == turn["prompt"]
        reply = prompts.between_last(turn["decoded_generation"], template.assistant, template.assistant_end)
        assert reply.strip() == turn["stored_reply"]
        assert prompts.between_last(reply, "<sosp>", "<eosp>") == turn["speech_part"]
        messages.append(reply.strip())  # as the original stores it, with its second colon


# ---- Text tokenizer


@pytest.fixture(scope="module", params=["tokenizer"])
def text_cases(request):
    folder = golden(request.param)
    variants = [path.name.removesuffix("_cases.json") for path in sorted(folder.glob("*_cases.json"))]
    assert variants
    return [
        (name, TextTokenizer.load(folder / name, folder / "tokenizer.model"), read_json(folder / f"{name}_cases.json"))
        for name in variants
    ]


def test_text_encoding(text_cases):
    for variant, tokenizer, cases in text_cases:
        for case in cases["encode"]:
            assert tokenizer.encode(case["text"]) == case["ids"], (variant, case["text"])
        batch = cases["padded_batch"]
        assert tokenizer.padded_batch(batch["texts"]) == (batch["input_ids"], batch["attention_mask"]), variant


def test_text_decoding(text_cases):
    for variant, tokenizer, cases in text_cases:
        for case in [*cases["encode"], *cases["decode"]]:
            assert tokenizer.decode(case["ids"]) == case["decoded"], variant
        for case in cases["decode"]:
            assert tokenizer.decode(case["ids"], skip_special=False) == case["decoded_keep_special"], variant


def test_added_tokens_lie_as_published(text_cases):
    layout = read_json(golden("tokenizer") / "layout.json")
    for _, tokenizer, _ in text_cases:
        vocabulary = Vocabulary(tokenizer.text_size, tokenizer.added)
        assert (len(vocabulary.text), vocabulary.size) == (layout["base_vocab"], layout["total"])
        assert {name: len(getattr(vocabulary, name).tokens) for name in layout["sizes"]} == layout["sizes"]
        assert vocabulary.added == {entry["token"]: entry["id"] for entry in layout["added_in_order"]}


def test_turns_as_tokens_are_the_conversation_as_a_string(text_cases):
    for variant, tokenizer, _ in text_cases:
        if not tokenizer.legacy:
            continue  # a turn's first piece would depend on where the whole text begins
        dialogue = Dialogue(tokenizer, Vocabulary(tokenizer.text_size, tokenizer.added))
        heard = prompts.interleaved("", speech=[prompts.code_string("speech", [1, 2, 3])])
        reply = f"<-Ins-> who are you <-Res-> an assistant {prompts.code_string('speech', [4, 5])}"
        tokens = [
            *dialogue.system_tokens(),
            *dialogue.user_turn_tokens([1, 2, 3]),
            *dialogue.assistant_turn_tokens("who are you", "an assistant", [4, 5]),
            *dialogue.user_turn_tokens(text="and now in text"),
        ]
        whole = prompt_string(dialogue.template, [heard, reply, "and now in text"])
        assert tokens == tokenizer.encode(whole), variant
