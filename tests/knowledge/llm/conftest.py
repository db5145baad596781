"""An endpoint, and clients of it with and without a key."""

import pytest

from knowledge.llm.client import OpenAiChat
from tests.knowledge.asking import KEY
from tests.llm_server import LlmServer


@pytest.fixture
def server():
    with LlmServer(answer=lambda body: '{"description": "legs"}') as server:
        yield server


@pytest.fixture
def client(server):
    client = OpenAiChat(server.url, "test-model", KEY)
    yield client
    client.close()


@pytest.fixture
def model(server):
    model = OpenAiChat(server.url, "m", timeout_s=20)
    yield model
    model.close()
