"""A small library for the real caikit runtime, under the name of the one that is usual there.

The runtime makes its REST paths, its gRPC service and its field numbers from the signatures below,
so these are those of caikit-nlp's modules, parameter by parameter and in their order. What the
modules compute is made up, and the same each time.
"""

import functools
import hashlib
import inspect
import math
import re
from typing import Iterable, List, Optional

import caikit
import numpy as np
from caikit.core import DataObjectBase, ModuleBase, ModuleSaver, dataobject, module
from caikit.core.data_model.json_dict import JsonDict
from caikit.interfaces.common.data_model import (
    ListOfVector1D,
    NpFloat32Sequence,
    ProducerId,
    Vector1D,
)
from caikit.interfaces.nlp.data_model import (
    EmbeddingResult,
    EmbeddingResults,
    FinishReason,
    GeneratedTextResult,
    GeneratedTextStreamResult,
    GeneratedToken,
    RerankResult,
    RerankResults,
    RerankScore,
    RerankScores,
    SentenceSimilarityResult,
    SentenceSimilarityResults,
    SentenceSimilarityScores,
    Token,
    TokenizationResults,
    TokenStreamDetails,
)
from caikit.interfaces.nlp.tasks import (
    EmbeddingTask,
    EmbeddingTasks,
    RerankTask,
    RerankTasks,
    SentenceSimilarityTask,
    SentenceSimilarityTasks,
    TextGenerationTask,
    TokenizationTask,
)

caikit.configure(config_dict={"merge_strategy": "merge"})

WORD = re.compile(r"\w+|\S")


@dataobject(package="caikit_data_model.caikit_nlp")
class ExponentialDecayLengthPenalty(DataObjectBase):
    start_index: int
    decay_factor: float


def words(text):
    return WORD.findall(text)


def shown(pieces, logprobs, ranks):
    return [
        GeneratedToken(
            text=piece,
            logprob=-0.25 * at - 0.5 if logprobs else None,
            rank=at + 1 if ranks else None,
        )
        for at, piece in enumerate(pieces)
    ]


def check(method, temperature, top_k, top_p, seed, longest, shortest):
    sampled = temperature not in (None, 1.0) or top_p not in (None, 1.0) or top_k or seed
    if method not in (None, "GREEDY", "SAMPLING"):
        raise ValueError(f"unknown decoding method {method}")
    if method != "SAMPLING" and sampled:
        raise ValueError(
            "sampling parameters (temperature/top_k/top_p/typical_p/seed) aren't applicable in "
            "greedy decoding mode"
        )
    if shortest > longest:
        raise ValueError("min_new_tokens must be <= max_new_tokens")


class Told:
    """What the model says to a text: its words from the last to the first."""

    def __init__(self, given):
        text = given["text"]
        longest = given["max_new_tokens"] or 20
        check(
            given["decoding_method"],
            given["temperature"],
            given["top_k"],
            given["top_p"],
            given["seed"],
            longest,
            given["min_new_tokens"] or 0,
        )
        self.input = words(text)
        if given["truncate_input_tokens"]:
            self.input = self.input[-given["truncate_input_tokens"] :]
        all_pieces = [piece + " " for piece in reversed(self.input)]
        self.pieces = all_pieces[:longest]
        self.reason = (
            FinishReason.MAX_TOKENS if len(all_pieces) > longest else FinishReason.EOS_TOKEN
        )
        for at, piece in enumerate(self.pieces):
            stop = next((stop for stop in given["stop_sequences"] or [] if stop in piece), None)
            if stop is not None:
                end = piece.index(stop)
                kept = end + len(stop) if given["include_stop_sequence"] else end
                self.pieces = self.pieces[:at] + [piece[:kept]]
                self.reason = FinishReason.STOP_SEQUENCE
                break
        logprobs, ranks = given["token_logprobs"], given["token_ranks"]
        self.tokens = (
            shown(self.pieces, logprobs, ranks) if given["generated_tokens"] else []
        )
        self.input_tokens = shown(self.input, logprobs, ranks) if given["input_tokens"] else []
        self.seed = given["seed"]
        self.prompt = text if given["preserve_input_text"] else ""


def generation(
    self,
    text: str,
    max_new_tokens: Optional[int] = 20,
    min_new_tokens: Optional[int] = 0,
    truncate_input_tokens: Optional[int] = 0,
    decoding_method: Optional[str] = "GREEDY",
    top_k: Optional[int] = 0,
    top_p: Optional[float] = 1.0,
    typical_p: Optional[float] = 1.0,
    temperature: Optional[float] = 1.0,
    repetition_penalty: Optional[float] = 1.0,
    max_time: Optional[float] = None,
    exponential_decay_length_penalty: Optional[ExponentialDecayLengthPenalty] = None,
    stop_sequences: Optional[List[str]] = None,
    seed: Optional[np.uint64] = None,
    preserve_input_text: bool = False,
    input_tokens: bool = False,
    generated_tokens: bool = False,
    token_logprobs: bool = False,
    token_ranks: bool = False,
    include_stop_sequence: Optional[bool] = None,
):
    """What caikit-nlp's generation takes, whole or as a stream."""
    return dict(locals())


def generates(method):
    """A method of what `generation` takes, which gets it as one. The runtime goes by what
    `inspect.signature` says, and that goes by `__signature__`."""

    @functools.wraps(method)
    def asked(self, *args, **given):
        return method(self, generation(self, *args, **given))

    returns = inspect.signature(method).return_annotation
    asked.__signature__ = inspect.signature(generation).replace(return_annotation=returns)
    return asked


@module("f9181353-4ccf-4572-bd1e-f12bcda26792", "Text Generation", "0.1.0",
        tasks=[TextGenerationTask, TokenizationTask])
class TextGeneration(ModuleBase):
    PRODUCER = ProducerId(name="Text Generation", version="0.1.0")

    @classmethod
    def load(cls, model_path, **_):
        return cls()

    def save(self, model_path):
        with ModuleSaver(self, model_path=model_path):
            pass

    @TextGenerationTask.taskmethod()
    @generates
    def run(self, given) -> GeneratedTextResult:
        told = Told(given)
        return GeneratedTextResult(
            generated_text=told.prompt + "".join(told.pieces),
            generated_tokens=len(told.pieces),
            finish_reason=told.reason,
            producer_id=self.PRODUCER,
            input_token_count=len(told.input),
            seed=told.seed,
            tokens=told.tokens,
            input_tokens=told.input_tokens,
        )

    @TextGenerationTask.taskmethod(output_streaming=True)
    @generates
    def run_stream_out(self, given) -> Iterable[GeneratedTextStreamResult]:
        told = Told(given)

        def piece(text, count, reason=FinishReason.NOT_FINISHED, inputs=0, **more):
            return GeneratedTextStreamResult(
                generated_text=text,
                details=TokenStreamDetails(
                    finish_reason=reason,
                    generated_tokens=count,
                    seed=told.seed or 0,
                    input_token_count=inputs,
                ),
                **more,
            )

        yield piece(told.prompt, 0, inputs=len(told.input))
        if told.input_tokens:
            yield piece("", 0, input_tokens=told.input_tokens)
        for at, text in enumerate(told.pieces):
            last = at + 1 == len(told.pieces)
            reason = told.reason if last else FinishReason.NOT_FINISHED
            yield piece(text, at + 1, reason, tokens=told.tokens[at : at + 1])

    @TokenizationTask.taskmethod()
    def run_tokenizer(self, text: str) -> TokenizationResults:
        # As behind TGIS: the count alone.
        return TokenizationResults(token_count=len(words(text)))


def numbers(text, size=8):
    digest = hashlib.sha256(text.lower().encode()).digest()
    raw = [byte / 255 - 0.5 for byte in digest[:size]]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def vector(text):
    return Vector1D(data=NpFloat32Sequence(np.array(numbers(text), dtype="float32")))


def likeness(one, other):
    return sum(a * b for a, b in zip(numbers(one), numbers(other)))


def cut(text, limit):
    """The first words, as many as are asked for; none where more are there than fit."""
    all_words = words(text)
    if limit is not None and limit > 0:
        all_words = all_words[:limit]
    elif limit is None or limit == 0:
        if len(all_words) > 64:
            raise ValueError(
                f"Token sequence length (+2 for start/end tokens) exceeds the maximum sequence "
                f"length for this model ({64})."
            )
    return " ".join(all_words), len(all_words)


@module("eeb12558-b4fa-4f34-a9fd-3f5890e9cd3f", "EmbeddingModule", "0.0.1",
        tasks=[EmbeddingTask, EmbeddingTasks, SentenceSimilarityTask, SentenceSimilarityTasks,
               RerankTask, RerankTasks, TokenizationTask])
class EmbeddingModule(ModuleBase):
    PRODUCER = ProducerId(name="EmbeddingModule", version="0.0.1")

    @classmethod
    def load(cls, model_path, **_):
        return cls()

    def save(self, model_path):
        with ModuleSaver(self, model_path=model_path):
            pass

    @property
    def public_model_info(self):
        return {"max_seq_length": 64, "sentence_embedding_dimension": 8}

    def _result(self, kind, count, **result):
        return kind(producer_id=self.PRODUCER, input_token_count=count, **result)

    @EmbeddingTask.taskmethod()
    def run_embedding(
        self, text: str, truncate_input_tokens: Optional[int] = 0
    ) -> EmbeddingResult:
        text, count = cut(text, truncate_input_tokens)
        return self._result(EmbeddingResult, count, result=vector(text))

    @EmbeddingTasks.taskmethod()
    def run_embeddings(
        self, texts: List[str], truncate_input_tokens: Optional[int] = 0
    ) -> EmbeddingResults:
        all_texts = [cut(text, truncate_input_tokens) for text in texts]
        vectors = ListOfVector1D(vectors=[vector(text) for text, _ in all_texts])
        count = sum(count for _, count in all_texts)
        return self._result(EmbeddingResults, count, results=vectors)

    def _scores(self, source, sentences, limit):
        source, count = cut(source, limit)
        others = [cut(sentence, limit) for sentence in sentences]
        scores = [likeness(source, sentence) for sentence, _ in others]
        count += sum(each for _, each in others)
        return SentenceSimilarityScores(scores=scores), count

    @SentenceSimilarityTask.taskmethod()
    def run_sentence_similarity(
        self,
        source_sentence: str,
        sentences: List[str],
        truncate_input_tokens: Optional[int] = 0,
    ) -> SentenceSimilarityResult:
        scores, count = self._scores(source_sentence, sentences, truncate_input_tokens)
        return self._result(SentenceSimilarityResult, count, result=scores)

    @SentenceSimilarityTasks.taskmethod()
    def run_sentence_similarities(
        self,
        source_sentences: List[str],
        sentences: List[str],
        truncate_input_tokens: Optional[int] = 0,
    ) -> SentenceSimilarityResults:
        rows = [self._scores(s, sentences, truncate_input_tokens) for s in source_sentences]
        count = sum(count for _, count in rows)
        return self._result(
            SentenceSimilarityResults, count, results=[scores for scores, _ in rows]
        )

    def _ranking(self, query, documents, top_n, limit, with_document, with_query, with_text):
        if not query or not documents:
            raise ValueError(
                "value check failed: Cannot rerank without a query and at least one document"
            )
        _, count = cut(query, limit)
        scores = []
        for index, document in enumerate(documents):
            text = str(document.get("text") or document.get("_text") or "")
            counted, each = cut(text, limit)
            count += each
            scores.append(
                RerankScore(
                    document=document if with_document else None,
                    index=index,
                    score=likeness(query, counted),
                    text=text if with_text else None,
                )
            )
        scores.sort(key=lambda score: -score.score)
        kept = scores[:top_n] if top_n and top_n > 0 else scores
        return RerankScores(query=query if with_query else None, scores=kept), count

    @RerankTask.taskmethod()
    def run_rerank_query(
        self,
        query: str,
        documents: List[JsonDict],
        top_n: Optional[int] = None,
        truncate_input_tokens: Optional[int] = 0,
        return_documents: Optional[bool] = True,
        return_query: Optional[bool] = True,
        return_text: Optional[bool] = True,
    ) -> RerankResult:
        ranking, count = self._ranking(
            query, documents, top_n, truncate_input_tokens,
            return_documents, return_query, return_text,
        )
        return self._result(RerankResult, count, result=ranking)

    @RerankTasks.taskmethod()
    def run_rerank_queries(
        self,
        queries: List[str],
        documents: List[JsonDict],
        top_n: Optional[int] = None,
        truncate_input_tokens: Optional[int] = 0,
        return_documents: Optional[bool] = True,
        return_queries: Optional[bool] = True,
        return_text: Optional[bool] = True,
    ) -> RerankResults:
        rankings = [
            self._ranking(
                query, documents, top_n, truncate_input_tokens,
                return_documents, return_queries, return_text,
            )
            for query in queries
        ]
        count = sum(count for _, count in rankings)
        return self._result(RerankResults, count, results=[ranking for ranking, _ in rankings])

    @TokenizationTask.taskmethod()
    def run_tokenizer(self, text: str) -> TokenizationResults:
        tokens = [
            Token(start=found.start(), end=found.end(), text=found.group())
            for found in WORD.finditer(text)
        ]
        return TokenizationResults(results=tokens, token_count=len(tokens))
