"""A plain request, for tests of the client."""

from knowledge.llm.messages import ChatRequest, Message


def request(**changes):
    fields = {
        "question": "description",
        "class_id": 1,
        "class_name": "run",
        "messages": (Message(role="user", content="What is run? ü"),),
    }
    return ChatRequest(**fields | changes)
