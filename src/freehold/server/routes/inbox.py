"""The inbox: what waits for a person on any thread, and the answers. An endpoint of our own; LangGraph's has none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from freehold.core.assistant import Settings, executed
from freehold.core.caller import Caller
from freehold.core.errors import Conflict, InvalidRequest
from freehold.core.ids import assistant_id
from freehold.core.run import Run
from freehold.server import audit
from freehold.server.auth import permit
from freehold.server.json_body import JsonRoute
from freehold.server.launch import check_graph, completed
from freehold.server.parts import Parts, ServerParts
from freehold.server.reply import reply
from freehold.server.wire import runs
from freehold.server.wire.inbox import Answer, Answered, InboxRespond, InboxSearch, QuestionShown, shown
from freehold.storage.assistants import Assistants
from freehold.storage.inbox import Asking, Held, resuming

router = APIRouter(prefix="/inbox", route_class=JsonRoute, tags=["inbox"])


@router.post("/search", response_model=list[QuestionShown])
async def search(caller: Annotated[Caller, permit("threads", "search")], parts: Parts, body: InboxSearch | None = None) -> Response:
    """Interrupts of the caller's threads that wait for an answer, a page of threads at a time: `X-Pagination-Next` leads on."""
    body = body or InboxSearch()
    found = await parts.inbox.search(caller, body.filter(limit=body.limit + 1))
    questions = [question for waiting in found[: body.limit] for question in shown(waiting)]
    more = {"X-Pagination-Next": str(body.offset + body.limit)} if len(found) > body.limit else {}
    return reply(questions, headers=more)


@router.post("/respond", response_model=Answered)
async def respond(body: InboxRespond, caller: Annotated[Caller, permit("threads", "create_run")], parts: Parts) -> Response:
    """Answer one question or many: each thread goes on in one run with all its answers; a wrong answer starts nothing."""
    answers = _by_thread(body.responses)
    async with parts.inbox.hold(caller, list(answers)) as held:
        for thread_id, given in answers.items():
            _check(held.asking[thread_id], given, body.responses)
        accepted = [await _answer(parts, caller, held, held.asking[thread_id], given) for thread_id, given in answers.items()]
    audit.about(run_ids=" ".join(str(run.run_id) for run in accepted))
    await parts.events.wake_workers()
    return reply({"runs": [runs.shown(run) for run in accepted]})


def _by_thread(responses: Sequence[Answer]) -> Mapping[UUID, Mapping[str, Answer]]:
    found: defaultdict[UUID, dict[str, Answer]] = defaultdict(dict)
    for number, answer in enumerate(responses):
        if answer.interrupt_id in found[answer.thread_id]:
            raise InvalidRequest(f"responses.{number}: the same question is answered twice")
        found[answer.thread_id][answer.interrupt_id] = answer
    return found


def _check(asking: Asking, given: Mapping[str, Answer], responses: Sequence[Answer]) -> None:
    """Raises Conflict where a question does not wait any more, InvalidRequest where an answer is not one it takes."""
    for interrupt_id, answer in given.items():
        place = f"responses.{responses.index(answer)}"
        question = asking.questions.get(interrupt_id)
        if question is None:
            raise Conflict(f"{place}: thread {asking.thread.thread_id} does not ask this (any more)", hint="it may be answered already")
        if asking.expired(question):
            raise Conflict(f"{place}: the time to answer is over")
        if wrong := question.wrong_with(answer.response):
            raise InvalidRequest(f"{place}: {wrong}", hint="POST /inbox/search shows the response_schema of each question")


async def _answer(parts: ServerParts, caller: Caller, held: Held, asking: Asking, given: Mapping[str, Answer]) -> Run:
    graph_id = asking.graph_id
    if graph_id is None:
        raise Conflict(f"thread {asking.thread.thread_id} belongs to no graph")
    check_graph(parts, graph_id)
    asked = asking.request
    if asked.graph_id is None and asking.assistant_id != assistant_id(graph_id):  # a copy: no run of its own has taken the settings over
        assistant = await Assistants(held.pool).get(caller.running(), asking.assistant_id)
        asked = executed(asked, Settings.of(assistant))
    request = completed(caller, resuming(asked, _responses(given)))
    return await held.answer(caller, asking, replace(request, graph_id=graph_id), graph_id)


def _responses(given: Mapping[str, Answer]) -> dict[str, Any]:
    return {interrupt_id: answer.response for interrupt_id, answer in given.items()}
