"""MPEG-4 pictures are found in packets as by reading each packet alone."""

import av
import numpy as np
import pytest

from knowledge.video.packets import picture_types

CODE = b"\x00\x00\x01\xb6"


def literal(packets):
    """The type of each packet's picture; nothing if a packet does not hold exactly one."""
    types = []
    for data in packets:
        header = data[data.find(CODE) + 4 :][:1]
        if len(data) <= 19 or data.count(CODE) != 1 or not header:
            return []
        types.append(header[0] >> 6)
    return types


@pytest.mark.parametrize(
    ("packets", "types"),
    [
        ([], []),
        ([CODE + b"\x80" + bytes(20)], [2]),
        ([b"ab" + CODE + b"\x40" + bytes(20), CODE + b"\x00" + bytes(20)], [1, 0]),
        ([bytes(25)], []),
        ([2 * (CODE + bytes(20))], []),
        ([2 * (CODE + bytes(20)), bytes(25)], []),
        ([bytes(20) + CODE], []),
        ([bytes(20) + CODE, CODE + bytes(20)], []),
        ([CODE + bytes(20) + CODE[:2], CODE[2:] + bytes(20)], []),
        ([CODE + bytes(15)], []),
        ([CODE + bytes(16)], [0]),
    ],
)
def test_packets_of_one_picture_each(packets, types):
    assert picture_types([av.Packet(data) for data in packets]) == types == literal(packets)


def test_any_packets():
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(4000):
        packets = [
            bytes(generator.choice([0, 0, 0, 1, 0xB6], size).tolist())
            for size in generator.integers(18, 30, generator.integers(1, 3))
        ]
        types = picture_types([av.Packet(data) for data in packets])
        assert types in ([], literal(packets)), packets
        found += bool(types)
    assert found > 20
