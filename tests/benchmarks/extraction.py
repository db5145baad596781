"""Time of an extraction of 2,000 calls, 64 at a time, against an endpoint that takes 50 ms.

Run from the repository root: `python tests/benchmarks/extraction.py [calls concurrency ms]`.

The endpoint is a process of its own; the ledger is a file on disk with its fsyncs. The ideal is
calls / concurrency * latency. The naive way, one call after the other, is extrapolated from 40.

The limit is 1.3 times the ideal. Measured on two idle cores, four runs: the calls, ledger included,
1.25 to 1.30 times the ideal (1.96 to 2.03 s); the whole extraction, which also builds the requests,
reads the replies and publishes, 1.94 to 2.14 times; 31 times as fast as one call after the other.
One interpreter makes all calls: a call uses 1.6 ms of CPU, 0.44 of it to build the request.
"""

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceQuestion
from knowledge.extraction.question import read_action_classes
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.messages import Dialect
from knowledge.llm.options import AskingOptions, SendOptions

REPLY = json.dumps({"actions": ["abseiling", "zumba", "yoga"]})
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": REPLY},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 2000, "completion_tokens": 20, "total_tokens": 2020},
    }
).encode()
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
) + ANSWER


class Endpoint(asyncio.Protocol):
    """Answers every POST after a while; one object per connection."""

    delay_s = 0.05

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) >= length:
            self.received = body[length:]
            asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, RESPONSE)


def serve(delay_s, ports):
    """Serve until killed."""
    Endpoint.delay_s = delay_s

    async def main():
        server = await asyncio.get_running_loop().create_server(
            Endpoint, "127.0.0.1", 0, backlog=256
        )
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def extract(root, url, num_calls, concurrency):
    """Seconds of a whole extraction, on the CPU, of them building the requests; and its report."""
    store = Store(root / "store")
    classes = register_classes(store, "kinetics400", class_list("kinetics400")).artifact
    question = CooccurrenceQuestion(rounds=num_calls // 400)
    started = time.process_time()
    question.requests(read_action_classes(classes))
    building = time.process_time() - started
    config = AskingOptions(send=SendOptions(limits=LimitsOptions(concurrency=concurrency)))
    model = OpenAiChat(url, "m")
    started, cpu_started = time.perf_counter(), time.process_time()
    with Ledger(root / "ledger.sqlite") as ledger:
        artifact = ask(store, classes, question, model, ledger, config=config).artifact
    seconds = time.perf_counter() - started
    cpu = time.process_time() - cpu_started
    model.close()
    assert artifact.manifest.num_rows == num_calls
    return seconds, cpu, building, artifact.manifest.report


def one_after_another(root, url, num_calls):
    """Seconds of the naive way, without any ledger, for as many calls."""
    store = Store(root / "store")
    classes = store.get("classes/kinetics400")
    requests = CooccurrenceQuestion(rounds=1).requests(read_action_classes(classes))[:40]
    model = OpenAiChat(url, "m")
    model.complete(requests[0], Dialect())
    started = time.perf_counter()
    for request in requests:
        model.complete(request, Dialect())
    seconds = time.perf_counter() - started
    model.close()
    return seconds / len(requests) * num_calls


def main():
    """Print the table."""
    arguments = [int(each) for each in sys.argv[1:]]
    num_calls, concurrency, milliseconds = arguments or (2000, 64, 50)
    spawn = multiprocessing.get_context("spawn")
    ports = spawn.Queue()
    server = spawn.Process(target=serve, args=(milliseconds / 1000, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get()}/v1"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".extraction-") as directory:
        root = Path(directory)
        seconds, cpu, building, report = extract(root, url, num_calls, concurrency)
        naive = one_after_another(root, url, num_calls)
    server.terminate()
    server.join()
    ideal = num_calls / concurrency * milliseconds / 1000
    print(f"{num_calls} calls, {concurrency} at a time, {milliseconds} ms each")
    print(f"ideal               {ideal:8.2f} s")
    print(f"extraction          {seconds:8.2f} s   {seconds / ideal:.2f} times the ideal")
    of_calls = report["duration_s"]
    print(f"  of it the calls   {of_calls:8.2f} s   {of_calls / ideal:.2f} times the ideal")
    print(f"CPU of a call       {cpu / num_calls * 1000:8.2f} ms")
    print(f"  of it building it {building / num_calls * 1000:8.2f} ms")
    print(f"one after another   {naive:8.2f} s   {naive / seconds:.1f} times the extraction")


if __name__ == "__main__":
    main()
