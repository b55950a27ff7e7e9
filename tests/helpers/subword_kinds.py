"""Tokenizers of three kinds, trained on a few captions: their JSON and the id of their end."""

from functools import cache

import tokenizers

CAPTIONS = [
    "a brown dog runs over the grass",
    "two dogs are running on the beach",
    "a man is riding a skateboard down a ramp",
    "a surfer rides a wave in the ocean",
] * 3


@cache
def byte_level():
    """GPT-2's kind: bytes in pairs, a blank is part of the token behind it."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(CAPTIONS, trainer)
    return made.to_str(), made.token_to_id("<|endoftext|>")


def _ending(made, end, begin=None):
    """A tokenizer that marks the end of a text, and its beginning."""
    marks = [(mark, made.token_to_id(mark)) for mark in (begin, end) if mark]
    single = f"{begin} $A {end}" if begin else f"$A {end}"
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=marks
    )
    return made.to_str()


@cache
def clip_texts():
    """CLIP's kind, of the captions above."""
    return clip_kind(CAPTIONS, 90)


def clip_kind(captions, size):
    """CLIP's kind: letters in pairs, whole words ended by `</w>`, a beginning and an end."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.decoder = tokenizers.decoders.BPEDecoder()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    made.train_from_iterator(captions, trainer)
    end = made.token_to_id("<|endoftext|>")
    return _ending(made, "<|endoftext|>", "<|startoftext|>"), end


@cache
def siglip_texts():
    """SigLIP's kind: a mark begins every word, and texts have an end and are padded with it."""
    text, end = metaspace()
    return _ending(tokenizers.Tokenizer.from_str(text), "</s>"), end


@cache
def word_piece():
    """BERT's kind: lower case, `##` continues a word."""
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    made.train_from_iterator(CAPTIONS, trainer)
    return made.to_str(), made.token_to_id("[SEP]")


@cache
def metaspace():
    """Llama's kind: a mark begins every word, the first one, too."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=60, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    made.train_from_iterator(CAPTIONS, trainer)
    return made.to_str(), made.token_to_id("</s>")
