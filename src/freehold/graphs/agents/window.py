"""What of a conversation a model is shown: as much of its recent end as fits, never half a tool exchange.

Tokens are estimated from bytes, on the safe side, because the real tokenizer is the model server's and may be any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage

#: English text has about four bytes a token, code and other languages fewer.
_BYTES_PER_TOKEN = 3.2
#: What a chat template puts around each message.
_TOKENS_PER_MESSAGE = 6
#: A tool answer is never cut below this.
_MIN_TOOL_TOKENS = 128

_CUT = "\n… (cut: too long for the model to read at once)"


def estimate_tokens(message: BaseMessage) -> int:
    """Tokens of a message, rather too many than too few."""
    size = len(message.text.encode())
    if isinstance(message, AIMessage) and message.tool_calls:
        size += len(json.dumps([{"name": call["name"], "args": call["args"]} for call in message.tool_calls], default=str).encode())
    return math.ceil(size / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE


def fit_window(messages: Sequence[AnyMessage], budget_tokens: int) -> list[AnyMessage]:
    """The newest turns that fit, oldest first, beginning with a user's message.

    A turn is a user's message with all that follows it. Where not even the last turn fits, its tool answers are shortened
    and then its oldest tool exchanges left out; the user's own message is never touched.
    """
    turns = _split(messages, HumanMessage)
    kept: list[AnyMessage] = []
    left = budget_tokens
    for turn in reversed(turns):
        size = sum(map(estimate_tokens, turn))
        if size > left:
            break
        kept = [*turn, *kept]
        left -= size
    return kept if kept or not turns else _squeeze(turns[-1], budget_tokens)


def _squeeze(turn: Sequence[AnyMessage], budget_tokens: int) -> list[AnyMessage]:
    first, exchanges = list(turn[:1]), _split(turn[1:], AIMessage)
    answers = sum(isinstance(message, ToolMessage) for message in turn)
    if answers:
        fixed = sum(estimate_tokens(message) for message in turn if not isinstance(message, ToolMessage))
        share = max((budget_tokens - fixed) // answers, _MIN_TOOL_TOKENS)
        exchanges = [[_shorten(message, share) for message in exchange] for exchange in exchanges]
    while (
        len(exchanges) > 1
        and sum(estimate_tokens(m) for exchange in exchanges for m in exchange) + sum(map(estimate_tokens, first)) > budget_tokens
    ):
        exchanges.pop(0)
    return first + [message for exchange in exchanges for message in exchange]


def _shorten(message: AnyMessage, tokens: int) -> AnyMessage:
    if not isinstance(message, ToolMessage) or estimate_tokens(message) <= tokens:
        return message
    kept = message.text.encode()[: max(int((tokens - _TOKENS_PER_MESSAGE) * _BYTES_PER_TOKEN) - len(_CUT.encode()), 0)]
    return message.model_copy(update={"content": kept.decode(errors="ignore") + _CUT})


def _split(messages: Sequence[AnyMessage], at: type[BaseMessage]) -> list[list[AnyMessage]]:
    """Groups that each begin with a message of a kind; what stands before the first one is a group too."""
    groups: list[list[AnyMessage]] = []
    for message in messages:
        if isinstance(message, at) or not groups:
            groups.append([])
        groups[-1].append(message)
    return groups
